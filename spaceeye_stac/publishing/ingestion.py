"""Items that a GeoCatalog fetches itself, from a static catalog or its stac-geoparquet in a store."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET
from spaceeye_stac.errors import PublishError
from spaceeye_stac.publishing.api import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Outcome, segment
from spaceeye_stac.publishing.geocatalog import INGESTION, GeoCatalog
from spaceeye_stac.publishing.http_client import FAILED, PENDING, READING
from spaceeye_stac.publishing.targets import Target
from spaceeye_stac.query import Json


class IngestingGeoCatalog(GeoCatalog):
    """A GeoCatalog that fetches items that are new to it from below `base`; those that changed are sent to it."""

    def __init__(self, target: Target, wait: float | None, ingest: str, base: str) -> None:
        super().__init__(target, wait)
        source = {"importType": "StaticCatalog", "sourceCatalogUrl": f"{base}/{COLLECTION_FILE}"}
        table = {"importType": "StacGeoparquet", "stacGeoparquetUrl": f"{base}/{PARQUET}"}
        self._source = source if ingest == "catalog" else table

    def put_items(self, items: Sequence[Json]) -> Iterator[Outcome]:
        """Let it fetch what is new, and replace what changed."""
        new = self._missing(items)
        if new:
            yield from self._fetched(new)
        names = {item["id"] for item in new}
        yield from super().put_items([item for item in items if item["id"] not in names])

    def _missing(self, items: Sequence[Json]) -> list[Json]:
        there = self.held(items) if items else {}
        return [item for item in items if item["id"] not in there]

    def _fetched(self, items: Sequence[Json]) -> Iterator[Outcome]:
        try:
            answer = self._run(items)
        except PublishError as error:
            yield from (Outcome(item["id"], str(error)) for item in items)
        else:
            yield from (Outcome(item["id"], answer=answer) for item in items)

    def _run(self, items: Sequence[Json]) -> str:
        """Run the ingestion, after a run that an earlier publication has left at work; says how it ended."""
        definitions = f"{INGESTION}collections/{segment(items[0]['collection'])}/ingestions"
        runs = f"{definitions}/{segment(self._definition(definitions))}/runs"
        left = next((run for run in self._listing(runs) if _state(run) in PENDING), None)
        if left is not None:
            said = self._ended(runs, left)
            if not self._missing(items):
                return said
        return self._ended(runs, self._created(runs))

    def _definition(self, path: str) -> str:
        """The id of the definition of this ingestion, which is created where there is none."""
        wanted = {**self._source, "skipExistingItems": True, "keepOriginalAssets": False}
        held = (one for one in self._listing(path) if wanted.items() <= one.items())
        found = next(held, None) or self._created(path, {**wanted, "displayName": "spaceeye-stac"})
        return str(found.get("id") or found.get("ingestionId"))

    def _listing(self, path: str) -> Iterator[Json]:
        onward: str | None = path
        while onward is not None:
            page = self._client.call(READING, onward).document
            yield from page.get("value", ()) if isinstance(page, dict) else ()
            onward = self._next(page["nextLink"]) if isinstance(page, dict) and page.get("nextLink") else None

    def _created(self, path: str, body: Json | None = None) -> Json:
        reply = self._client.call("POST", path, body)
        if not isinstance(reply.document, dict):
            raise PublishError(f"{self.url}/{path} answers {reply}, which says nothing of an ingestion")
        return reply.document

    def _ended(self, runs: str, run: Json) -> str:
        """Follow a run to its end, or as long as is waited; says how it ended."""
        path, end, pause = f"{runs}/{segment(str(run.get('id')))}", time.monotonic() + self._wait, FIRST_PAUSE_SECONDS
        while _state(run) in PENDING:
            if time.monotonic() >= end:
                return f"that its ingestion was not done after {self._wait:g} s"
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            found = self._client.call(READING, path).document
            run = found if isinstance(found, dict) else {}
        operation: dict[str, Any] = run.get("operation") or {}
        said = f"that its ingestion has {_state(run) or 'no status'}"
        if _state(run) in FAILED or operation.get("totalFailedItems"):
            said += f", {operation.get('totalFailedItems')} of {operation.get('totalItems')} items failed"
            said += "".join(f" ({one['errorCode']}: {one.get('errorMessage')})" for one in _errors(operation))
        return said


def _state(run: Json) -> str:
    return str((run.get("operation") or {}).get("status", "")).lower()


def _errors(operation: Json) -> list[Json]:
    return [one for one in operation.get("statusHistory") or () if one.get("errorCode")]
