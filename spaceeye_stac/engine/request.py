"""What a run was asked for, in a file of its folder, so that it can be gone on with or brought up to date."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from spaceeye_stac.collection import COLLECTION_FILE, write_json
from spaceeye_stac.errors import OutputError
from spaceeye_stac.keyframes import scene_key, settings_record
from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output
from spaceeye_stac.settings import Settings

RECORD_FILE = "run.json"
FORMAT = 1
KEY_DIGITS = 16
QUERY_FIELDS = ("bands", "max_cloud_cover", "tiles", "platforms", "orbits", "mask", "mask_asset", "unmasked")


@dataclass(frozen=True)
class RunRequest:
    """When a run was first started, and what was asked for, without where the scenes were found.

    `scenes`: the id of each scene that the search found, and a hash of what its pixels are. `warnings`: what is said of
    their files and pixels, each sentence with the ids of the scenes that it is about. `empty`: days that hold nothing,
    by the names of their items, and what they were made from.
    """

    created: datetime
    asked: Json
    scenes: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Query, settings: Settings, output: Output) -> "RunRequest":
        """The record of a run that starts now."""
        asked = {
            "datetime": f"{query.days.start}/{query.days.stop}",
            "region": query.geometry,
            **{name: getattr(query, name) for name in QUERY_FIELDS},
            **_how(settings, output),
        }
        return cls(datetime.now(UTC).replace(microsecond=0), dict(json.loads(json.dumps(asked))))

    @classmethod
    def read(cls, folder: Path) -> "RunRequest | None":
        """The record in a folder; None where there is none."""
        path = folder / RECORD_FILE
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            known = (found.get(name, {}) for name in ("scenes", "warnings", "empty"))
            return cls(datetime.fromisoformat(found["created"]), found["asked"], *known)
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(
                f"{path} cannot be read ({type(error).__name__}); run with overwrite to start anew."
            ) from None

    def write(self, folder: Path) -> None:
        """Put the record into a folder, whole or not at all."""
        found = {"scenes": dict(self.scenes), "warnings": dict(self.warnings), "empty": dict(self.empty)}
        facts = {"created": self.created.isoformat(), "asked": self.asked, **found}
        write_json(folder / RECORD_FILE, {"spaceeye:run": FORMAT, **facts})

    def with_scenes(self, scenes: Sequence[Scene], folder: Path) -> "RunRequest":
        """The request with what its search found, written into the folder; warnings of other scenes hold no more."""
        keys, same = (
            {scene.id: _key_of(scene) for scene in scenes},
            {scene.id for scene in scenes if self.has_seen(scene)},
        )
        known = replace(self, scenes=keys, warnings={t: ids for t, ids in self.warnings.items() if same >= set(ids)})
        known.write(folder)
        return known

    def has_seen(self, scene: Scene) -> bool:
        """Whether its search found this scene, with the very same pixels."""
        return self.scenes.get(scene.id) == _key_of(scene)

    @classmethod
    def of_finished(cls, folder: Path) -> "RunRequest | None":
        """The record of a finished run in a folder; None where there is none, or one that cannot be read."""
        try:
            return cls.read(folder) if (folder / COLLECTION_FILE).is_file() else None
        except OutputError:
            return None

    @classmethod
    def is_that_of(cls, folder: Path, asked: "RunRequest") -> bool:
        """Whether a finished run in a folder was asked for the very same."""
        before = cls.of_finished(folder)
        return before is not None and not before.changes(asked)

    def changes(self, other: "RunRequest") -> list[str]:
        """Names of what was asked for otherwise; what a record of another version does not name has its default."""
        mine, others = ({**_defaults(), **one.asked} for one in (self, other))
        return sorted(name for name in {*mine, *others} if mine.get(name) != others.get(name))

    def told(self, changed: Sequence[str]) -> str:
        """Names of what was asked for otherwise, with the method by its own name, as it may be a default of then."""
        method = self.asked.get("method")
        return ", ".join(
            f"{name} ({method})" if name == "method" and isinstance(method, str) else name for name in changed
        )


def _how(settings: Settings, output: Output) -> Json:
    return dict(json.loads(json.dumps({**settings_record(settings), **asdict(output)})))


@cache
def _defaults() -> Json:
    return _how(Settings(), Output())


def _key_of(scene: Scene) -> str:
    return scene_key(scene)[:KEY_DIGITS]


def settled_request(asked: RunRequest, folder: Path, earlier: Path | None) -> RunRequest:
    """Return the record of the run that is gone on with, or this one's; OutputError where they ask for other things."""
    before = RunRequest.read(folder)
    changed = before.changes(asked) if before else []
    if before and changed:
        raise OutputError(
            f"An unfinished run in {folder} was asked for another {before.told(changed)}; "
            "ask for the same to go on with it, or overwrite it."
        )
    old = RunRequest.read(earlier) if earlier else None
    changed = [name for name in old.changes(asked) if name != "datetime"] if old else []
    if old and changed:
        raise OutputError(f"The run in {earlier} was asked for another {old.told(changed)}; overwrite it instead.")
    record = before or (asked if old is None else replace(old, created=asked.created, asked=asked.asked))
    record.write(folder)
    return record
