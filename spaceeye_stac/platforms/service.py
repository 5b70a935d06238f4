"""What a server that runs this process for others lets them ask for: its configuration, checked when it is read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from spaceeye_stac.collection import COLLECTION_FILE
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.publishing import Target, target_of
from spaceeye_stac.query import Json
from spaceeye_stac.resources import Resources

OF_THE_PLATFORM = frozenset({"name", "type"})  # what the platform itself writes beside these options
Table = TypeVar("Table")


@dataclass(frozen=True, kw_only=True)
class ServiceTarget:
    """A place that requests may publish to; they know its name alone.

    Parameters
    ----------
    to
        A STAC API, an object store or a folder, as `publish` takes it.
    asset_base_url
        Public address under which the files of that place are read.
    assets_to
        For an API: where the files are sent.
    tiles_url
        Root of a titiler.

    """

    to: str
    asset_base_url: str | None = None
    assets_to: str | None = None
    tiles_url: str | None = None

    def __post_init__(self) -> None:
        if self._target.kind == "folder" and self.asset_base_url is None:
            raise InvalidInputError(f"Target {self.to} is a folder; give its public address as asset_base_url.")

    @property
    def _target(self) -> Target:
        return target_of(self.to)

    def place(self, collection: str) -> str:
        """Where a collection is published: an API holds many, a store or folder has one below a path of its own."""
        return self.to if self._target.has_api else f"{self.to.rstrip('/')}/{collection}"

    def options(self, collection: str) -> dict[str, str]:
        """The options of `publish` for a collection, whose files lie apart from those of others."""
        bases = {"asset_base_url": self.asset_base_url, "assets_to": self.assets_to}
        own = {name: f"{base.rstrip('/')}/{collection}" for name, base in bases.items() if base is not None}
        return own | ({} if self.tiles_url is None else {"tiles_url": self.tiles_url})

    def folders(self, collection: str) -> list[Path]:
        """Folders of this machine that hold nothing but a collection that is published here, or its files."""
        places = [self.place(collection), *filter(None, [self.options(collection).get("assets_to")])]
        return [Path(found.address) for found in map(target_of, places) if found.kind == "folder"]

    def href(self, collection: str) -> str:
        """Address of the published collection."""
        place = self._target
        if place.has_api:
            return f"{place.address}{'/stac' if place.kind == 'geocatalog' else ''}/collections/{collection}"
        return f"{self.options(collection).get('asset_base_url', self.place(collection))}/{COLLECTION_FILE}"


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """How much a request may ask for, and what its run may use.

    Parameters
    ----------
    area_days
        Area of the grid in square kilometres, of pixels of 10 m, times the days; finer pixels count for more.
    memory, workers
        Of each run, as `Resources` takes them.
    jobs
        Runs at once.
    waiting
        Jobs that may wait for their turn; more are refused.

    """

    area_days: float = 100_000.0
    memory: int | str = "4GB"
    workers: int | None = None
    jobs: int = 1
    waiting: int = 20

    def __post_init__(self) -> None:
        Resources(memory=self.memory, workers=self.workers)
        if not (self.area_days > 0 and self.jobs >= 1 and self.waiting >= 0):
            raise InvalidInputError("limits must be above 0: area_days, jobs; waiting may be 0.")


@dataclass(frozen=True, kw_only=True)
class Service:
    """The configuration of a server.

    Parameters
    ----------
    work
        Folder in which the jobs work, and in which `results` holds the collections that are results by value.
    url
        Public address of the folder `results`; without it every request must name a target.
    trusted
        Addresses below which a catalog may lie that is not https or not public, as those of an intranet. Such
        catalogs, and those of profiles, are read with the credentials of the server, all others without any.
    targets
        Where requests may publish to, by name.
    methods, mask_models
        Names of installed methods and mask models that requests may choose.
    limits
        How much a request may ask for.

    """

    work: Path
    url: str | None = None
    trusted: tuple[str, ...] = ()
    targets: Mapping[str, ServiceTarget] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    mask_models: tuple[str, ...] = ()
    limits: ServiceLimits = field(default_factory=ServiceLimits)

    @classmethod
    def of(cls, configured: Mapping[str, Any]) -> "Service":
        """Read a configuration; InvalidInputError for an option that is unknown, lacks or makes no sense."""
        values = {name: value for name, value in configured.items() if name not in OF_THE_PLATFORM}
        lists = {name: tuple(values[name]) for name in ("trusted", "methods", "mask_models") if name in values}
        tables: Json = {
            "limits": _table(ServiceLimits, values.get("limits", {}), "limits"),
            "targets": {
                name: _table(ServiceTarget, target, f"target {name}")
                for name, target in values.get("targets", {}).items()
            },
        }
        if "work" in values:
            tables["work"] = Path(str(values["work"])).resolve()
        made = _table(cls, values | lists | tables, "the processor")
        if made.url is None and not made.targets:
            raise InvalidInputError("A server needs an url for its results, or targets to publish them to; give one.")
        return made

    def as_json(self) -> Json:
        """The configuration, as `of` reads it."""
        return asdict(self) | {"work": str(self.work)}


def _table(kind: type[Table], values: object, where: str) -> Table:
    """Make a dataclass of a table of the configuration."""
    options = [f.name for f in fields(cast("Any", kind))]
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"The configuration of {where} is no table; give {', '.join(options)}.")
    unknown = [name for name in values if name not in options]
    if unknown:
        raise InvalidInputError(f"{unknown[0]!r} of {where} is no option; choose from {', '.join(options)}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidInputError(f"The configuration of {where} is not complete: {error}.") from error
