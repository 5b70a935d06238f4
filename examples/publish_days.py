"""Publish the days of a region as a static STAC collection: publish_days.py CATALOG W,S,E,N START/END FOLDER."""

import sys

import spaceeye_stac as se

catalog, bbox, days, out = sys.argv[1:5]
query = se.Query(catalog=catalog, bbox=[float(v) for v in bbox.split(",")], datetime=days, bands=["B02", "B03", "B04"])
result = se.run(query, se.Settings(collection_id="field"), out=out)

print(f"{len(result.days)} days in {result.path}")
for item in result.collection.get_items():
    facts = item.properties
    print(item.id, f"seen {facts['spaceeye:observed_share']:.0%}", f"from {facts['spaceeye:scene_count']} scenes")
