"""How to publish, what became of each item, and whose collection it is."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spaceeye_stac.collection import FINGERPRINT, is_ours
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.digests import is_our_item
from spaceeye_stac.publishing.run_folder import RUN, RunFolder
from spaceeye_stac.publishing.versions import VERSIONS
from spaceeye_stac.query import Json

INGESTS = ("catalog", "geoparquet")
FOREIGN = "an item of this id that this package did not make is there and stays; publish under another collection_id"


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """How to publish.

    Parameters
    ----------
    asset_base_url
        Public address under which the asset files are read.
    assets_to
        For an API: the store or folder to which the files go first.
    tiles_url
        Root of a titiler that shows the items as tiles.
    prune
        Whether items that the run no longer has are removed.
    overwrite
        Whether a collection of the same id from another run is replaced.
    ingest
        For a GeoCatalog: it fetches new items itself, from the static "catalog" or its "geoparquet" at `assets_to`.
    wait
        Seconds to wait for what an API has only accepted.
    stac_version
        "1.1", or "1.0" for servers and readers that know no newer one.

    """

    asset_base_url: str | None = None
    assets_to: str | None = None
    tiles_url: str | None = None
    prune: bool = False
    overwrite: bool = False
    ingest: str | None = None
    wait: float | None = None
    stac_version: str = VERSIONS[0]

    def __post_init__(self) -> None:
        """Raise TargetError for what makes no sense."""
        if self.ingest is not None and self.ingest not in INGESTS:
            raise TargetError(f"ingest {self.ingest!r} is none of {' and '.join(INGESTS)}.")
        if self.wait is not None and not self.wait > 0:
            raise TargetError(f"wait {self.wait:g} is no time; give seconds above 0.")
        if self.stac_version not in VERSIONS:
            raise TargetError(f"stac_version {self.stac_version!r} is none of {' and '.join(VERSIONS)}.")


@dataclass(frozen=True)
class Report:
    """What became of each item: ids `sent`, `unchanged`, `removed`, `stale` (there, in the run no longer), `failed`.

    `sent` and `removed` are what was read back. `foreign`: ids of items and names of files there that this package did
    not make, and that stay. `files` were copied; `lost_links` led to files of this machine and were left out.
    """

    target: str
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    files: int = 0
    lost_links: int = 0

    def as_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def check_owner(
    there: Json | None,
    run_folder: RunFolder,
    target: str,
    *,
    overwrite: bool,
    items: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Raise TargetError where a collection of this id stands that is not this run's, and may not be replaced.

    Some servers drop a collection's fields that STAC does not know. There `items`, the properties of what the
    collection holds, say whose it is.
    """
    if there is None:
        return
    known = items or {}
    name = f"Collection {run_folder.id} at {target}"
    if not is_our_collection(there, known.values()):
        raise TargetError(f"{name} was not made by this package; publish under another collection_id.")
    if there.get("id") != run_folder.id:
        raise TargetError(f"{target} holds collection {there.get('id')}, not {run_folder.id}; choose another place.")
    run = there.get(RUN)
    same = run == run_folder.run if run is not None else not known or _share_a_day(run_folder, known)
    if not same and not overwrite:
        raise TargetError(
            f"{name} is of another run ({run}, this is {run_folder.run}): other region, bands or settings; "
            "publish under another collection_id, or replace it with overwrite."
        )


def is_our_collection(there: Json, items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether this package made a collection: by its summaries, or by its items where the server keeps none."""
    if is_ours(there):
        return True
    known = list(items)
    return not there.get("summaries") and bool(known) and all(is_our_item(properties) for properties in known)


def _share_a_day(run_folder: RunFolder, items: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether some day there was made from the same as in this run."""
    return any(
        item["properties"].get(FINGERPRINT) is not None
        and items.get(item["id"], {}).get(FINGERPRINT) == item["properties"][FINGERPRINT]
        for item in run_folder.items
    )
