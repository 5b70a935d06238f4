"""What Microsoft's own client of a GeoCatalog reads and writes there; run by the interpreter that has it.

Arguments: what to do (`read` or `write`), the address, the token and a collection; prints JSON.
"""

import json
import sys
from typing import Any

from azure.core.credentials import AzureKeyCredential  # type: ignore[import-not-found]
from azure.core.exceptions import HttpResponseError  # type: ignore[import-not-found]
from azure.core.pipeline.policies import AzureKeyCredentialPolicy  # type: ignore[import-not-found]
from azure.planetarycomputer import PlanetaryComputerProClient  # type: ignore[import-not-found]
from azure.planetarycomputer.models import (  # type: ignore[import-not-found]
    IngestionDefinition,
    RenderOption,
    StacItemCollection,
    StacMosaic,
    StacSearchParameters,
)


def client_of(address: str, token: str) -> Any:
    """A client that sends its token over http, as its usual policy refuses to."""
    key = AzureKeyCredential(token)
    policy = AzureKeyCredentialPolicy(key, "Authorization", prefix="Bearer")
    return PlanetaryComputerProClient(address, key, authentication_policy=policy, polling_interval=0.05, retry_total=0)


def read(client: Any, name: str) -> dict[str, Any]:
    """Everything of a collection."""
    stac, found, token = client.stac, [], None
    while True:
        page = stac.search(StacSearchParameters(collections=[name], token=token))
        found += page.features
        onward = [link for link in page.links or () if link.rel == "next"]
        if not onward:
            break
        token = onward[0]["body"]["token"]
    return {
        "root": stac.get_landing_page().id,
        "collection": stac.get_collection(name).as_dict(),
        "items": [item.as_dict() for item in found],
        "first": stac.get_item(name, found[0].id).as_dict(),
        "renders": {one.id: [one.type, one.options] for one in stac.get_render_options(name)},
        "mosaics": {one.id: one.cql for one in stac.get_mosaics(name)},
        "operations": [[one.type, one.status] for one in client.ingestion.list_operations()],
    }


def write(client: Any, name: str) -> dict[str, Any]:
    """Make a collection with items, change and remove some, and say how each operation ended."""
    stac, said = client.stac, {}
    extent = {"spatial": {"bbox": [[3, 50, 4, 51]]}, "temporal": {"interval": [["2023-04-01T00:00:00Z", None]]}}
    collection = {"id": name, "type": "Collection", "description": "x", "license": "x", "extent": extent, "links": []}
    poller = stac.begin_create_collection(collection)
    poller.result()
    said["collection"] = poller.status()
    items = [_item(name, number) for number in range(3)]
    stac.begin_create_item(name, StacItemCollection({"type": "FeatureCollection", "features": items})).result()
    try:
        stac.begin_create_item(name, items[0]).result()
    except HttpResponseError as error:
        said["twice"] = str(error)
    stac.begin_replace_item(name, "item-1", {**items[1], "properties": {**items[1]["properties"], "title": "new"}})
    stac.begin_delete_item(name, "item-2").result()
    option = RenderOption(id="one", name="One", type="raster-tile", options="assets=a")
    stac.create_render_option(name, option)
    stac.add_mosaic(name, StacMosaic(id="all", name="All", cql=[]))
    source = IngestionDefinition(import_type="StaticCatalog", source_catalog_url=sys.argv[5], skip_existing_items=True)
    ingestion = client.ingestion.create(name, source)
    run = client.ingestion.create_run(name, ingestion.id)
    while run.operation.status in {"Pending", "Running"}:
        run = client.ingestion.get_run(name, ingestion.id, run.id)
    said["run"] = [run.operation.status, run.operation.total_items, run.operation.total_failed_items]
    return said


def _item(collection: str, number: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number}",
        "collection": collection,
        "bbox": [3, 50, 4, 51],
        "geometry": {"type": "Point", "coordinates": [3.5, 50.5]},
        "properties": {"datetime": "2023-04-01T00:00:00Z"},
        "assets": {"a": {"href": "https://files.example/a.tif"}},
        "links": [],
    }


if __name__ == "__main__":
    act = {"read": read, "write": write}[sys.argv[1]]
    print(json.dumps(act(client_of(sys.argv[2], sys.argv[3]), sys.argv[4]), default=str))  # noqa: T201 - the answer
