"""Days that looks to come may change: what says so, and what takes it back."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import jsonschema
import pytest

import spaceeye_stac as se
from tests.support.items import Json
from tests.support.small_catalog import small_items, small_query, written

SETTINGS = se.Settings(method="damped", duration=4)


def at(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs from here on as if it were that day."""

    class Clock(datetime):
        @classmethod
        def now(cls, _zone: object = None) -> "Clock":
            return cls.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)

    monkeypatch.setattr("spaceeye_stac.engine.request.datetime", Clock)


def documents(run: Path) -> dict[str, Json]:
    """Properties of the days by date."""
    items = [json.loads(path.read_text()) for path in sorted(run.glob("spaceeye_*/spaceeye_*.json"))]
    schema = json.loads((run / "spaceeye.schema.json").read_text())
    for item in [*items, json.loads((run / "collection.json").read_text())]:
        jsonschema.validate(item, schema)
    return {item["properties"]["datetime"][:10]: item["properties"] for item in items}


def test_days_are_provisional_until_their_window_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    query = small_query(written(small_items(tmp_path / "catalog"), tmp_path))
    at("2023-04-07", monkeypatch)
    se.run(query, SETTINGS, out=out)
    first = documents(out)
    today = date(2023, 4, 7)
    ends = {day: date.fromisoformat(found["spaceeye:window"][1]) for day, found in first.items()}
    said = {day: found["spaceeye:provisional"] for day, found in first.items()}
    assert said == {day: end >= today for day, end in ends.items()}
    assert set(said.values()) == {True, False}
    assert not said["2023-04-02"]
    assert said["2023-04-07"]
    collection = json.loads((out / "collection.json").read_text())
    assert collection["summaries"]["spaceeye:provisional"] == [False, True]
    assert collection["spaceeye:provisional_from"] == min(day for day, open_ in said.items() if open_)

    at("2023-06-01", monkeypatch)
    pixels = {path: path.stat().st_ino for path in out.rglob("*.tif")}
    again = se.run(query, SETTINGS, out=out, update=True)
    assert again.kept == again.days, "no pixel is made anew"
    assert {path: path.stat().st_ino for path in out.rglob("*.tif")} == pixels
    later = documents(out)
    assert not any(found["spaceeye:provisional"] for found in later.values())
    assert later == {day: {**found, "spaceeye:provisional": False} for day, found in first.items()}
    collection = json.loads((out / "collection.json").read_text())
    assert collection["summaries"]["spaceeye:provisional"] == [False]
    assert "spaceeye:provisional_from" not in collection


def test_causal_days_are_never_provisional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = small_query(written(small_items(tmp_path / "catalog"), tmp_path))
    at("2023-04-05", monkeypatch)
    se.run(query, se.Settings(method="damped", duration=4, causal=True), out=tmp_path / "out")
    found = documents(tmp_path / "out")
    assert found
    assert not any(one["spaceeye:provisional"] for one in found.values())
