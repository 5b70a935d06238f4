"""How to publish, what became of each item, and whose collection it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from spaceeye_stac.collection import is_ours
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.run_folder import RUN, RunFolder
from spaceeye_stac.query import Json


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

    """

    asset_base_url: str | None = None
    assets_to: str | None = None
    tiles_url: str | None = None
    prune: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Report:
    """What became of each item: ids `sent`, `unchanged`, `removed`, `stale` (there, in the run no longer), `failed`.

    `files` were copied; `lost_links` led to files of this machine and were left out.
    """

    target: str
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    lost_links: int = 0

    def as_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def check_owner(there: Json | None, run_folder: RunFolder, target: str, *, overwrite: bool) -> None:
    """Raise TargetError where a collection of this id stands that is not this run's, and may not be replaced."""
    if there is None:
        return
    name = f"Collection {run_folder.id} at {target}"
    if not is_ours(there):
        raise TargetError(f"{name} was not made by this package; publish under another collection_id.")
    if there.get("id") != run_folder.id:
        raise TargetError(f"{target} holds collection {there.get('id')}, not {run_folder.id}; choose another place.")
    if there.get(RUN) != run_folder.run and not overwrite:
        raise TargetError(
            f"{name} is of another run ({there.get(RUN)}, this is {run_folder.run}): other region, bands or settings; "
            "publish under another collection_id, or replace it with overwrite."
        )
