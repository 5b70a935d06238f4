"""A season of a field from Planetary Computer (or any catalog given as the first argument), as an NDVI series."""

import sys

import spaceeye_stac as se

catalog = sys.argv[1] if len(sys.argv) > 1 else "planetary-computer"
query = se.Query(
    catalog=catalog,
    bbox=(3.0194, 50.8132, 3.0283, 50.8187),
    datetime="2018-04-11/2018-06-10",
    bands=["B04", "B08"],
)

scenes = se.search(query)
print(scenes)

cube = se.interpolate(scenes, query)
red, nir = cube.reflectance.sel(band="B04"), cube.reflectance.sel(band="B08")
ndvi = ((nir - red) / (nir + red)).mean(["y", "x"]).compute()
for day, value in zip(ndvi.time.values, ndvi.values, strict=True):
    print(str(day)[:10], f"{value:.3f}")
