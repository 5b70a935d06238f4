"""What is asked of the kinds of API: which is at a target, where assets are read there, and how days are shown."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.api import StacApi
from spaceeye_stac.publishing.geocatalog import GeoCatalog
from spaceeye_stac.publishing.geocatalog_shows import LATEST, MOSAICS, RENDER_OPTIONS, render_options
from spaceeye_stac.publishing.ingestion import IngestingGeoCatalog
from spaceeye_stac.publishing.placing import Placing, tilejson_url
from spaceeye_stac.publishing.report import PublishOptions
from spaceeye_stac.publishing.run_folder import RunFolder
from spaceeye_stac.publishing.targets import Target, base_url, target_of
from spaceeye_stac.query import Json

AZURE_ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"


def api_of(target: Target, options: PublishOptions, placing: Placing | None = None) -> StacApi:
    """The API at a target; TargetError where it has not what the options ask for."""
    if options.ingest is None:
        return (StacApi if target.kind == "api" else GeoCatalog)(target, options.wait)
    if target.kind == "api" or not options.assets_to or placing is None:
        raise TargetError("ingest is for a GeoCatalog, and needs assets_to: the store from which it fetches the items.")
    return IngestingGeoCatalog(target, options.wait, options.ingest, str(placing.base))


def placing_for(run_folder: RunFolder, target: Target, options: PublishOptions) -> Placing:
    """Decide where assets are read: where the user says, where they were sent, or on this machine for this machine."""
    sent = target_of(options.assets_to) if options.assets_to else None
    if options.asset_base_url:
        base = base_url(options.asset_base_url, "asset_base_url")
    elif sent is not None and sent.kind == "store":
        base = sent.address
    elif target.loopback:
        base = Path(sent.address if sent else run_folder.folder).resolve().as_uri()
    else:
        raise TargetError(
            f"{target.address} is on another machine, which cannot read files of this one: say with assets_to where to "
            "send them, or with asset_base_url where they can be read."
        )
    if target.kind == "geocatalog":
        if options.tiles_url:
            raise TargetError("tiles_url is not for a GeoCatalog, which shows its items as tiles itself.")
        return Placing(run_folder, _for_ingestion(base), target.loopback)
    items = f"{target.address}/collections/{run_folder.id}/items"
    tiles = options.tiles_url
    return Placing(
        run_folder, base, target.loopback, (lambda name: tilejson_url(tiles, f"{items}/{name}")) if tiles else None
    )


def _for_ingestion(base: str) -> str:
    """Where a GeoCatalog fetches files: it knows a container by its https address alone."""
    parts = urlsplit(base)
    account = os.environ.get(AZURE_ACCOUNT)
    if parts.scheme == "az" and account:
        return f"https://{account}.blob.core.windows.net/{parts.netloc}{parts.path}"
    if parts.scheme in {"s3", "gs", "az"}:
        raise TargetError(
            f"A GeoCatalog fetches files by https, not from {base}: say with asset_base_url where, as "
            f"https://ACCOUNT.blob.core.windows.net/CONTAINER/days, or for az:// set {AZURE_ACCOUNT}."
        )
    return base


def shown(api: StacApi, collection: Json) -> dict[str, str]:
    """Set how a GeoCatalog shows a collection; says of each part that failed why. Other APIs read its `renders`."""
    if not isinstance(api, GeoCatalog):
        return {}
    name = str(collection["id"])
    return api.configure(name, RENDER_OPTIONS, render_options(collection)) | api.configure(name, MOSAICS, [LATEST])
