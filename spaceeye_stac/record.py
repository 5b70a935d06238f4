"""What a run was asked for, in a file of its folder, so that it can be gone on with or brought up to date."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from spaceeye_stac.documents import write_document
from spaceeye_stac.errors import OutputError
from spaceeye_stac.fingerprint import settings_record
from spaceeye_stac.output import Output
from spaceeye_stac.query import Json, Query, Settings

RECORD_FILE = "run.json"
FORMAT = 1
QUERY_FIELDS = ("bands", "max_cloud_cover", "tiles", "platforms", "orbits", "mask", "mask_asset", "unmasked")


@dataclass(frozen=True)
class Record:
    """When a run was first started, and what was asked for, without where the scenes were found."""

    created: datetime
    asked: Json

    @classmethod
    def of(cls, query: Query, settings: Settings, output: Output) -> "Record":
        """The record of a run that starts now."""
        asked = {
            "datetime": f"{query.days.start}/{query.days.stop}",
            "region": query.geometry,
            **{name: getattr(query, name) for name in QUERY_FIELDS},
            **settings_record(settings),
            **asdict(output),
        }
        return cls(datetime.now(UTC).replace(microsecond=0), dict(json.loads(json.dumps(asked))))

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """The record in a folder; None where there is none."""
        path = folder / RECORD_FILE
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(datetime.fromisoformat(found["created"]), found["asked"])
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(
                f"{path} cannot be read ({type(error).__name__}); run with overwrite to start anew."
            ) from None

    def write(self, folder: Path) -> None:
        """Put the record into a folder, whole or not at all."""
        document = {"spaceeye:run": FORMAT, "created": self.created.isoformat(), "asked": self.asked}
        write_document(folder / RECORD_FILE, document)

    def changes(self, other: "Record") -> list[str]:
        """Names of what was asked for otherwise."""
        return sorted(name for name in {*self.asked, *other.asked} if self.asked.get(name) != other.asked.get(name))
