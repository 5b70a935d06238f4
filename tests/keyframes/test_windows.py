import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.keyframes.windows import causal_windows, days_read, intervals, windows_of
from spaceeye_stac.query import DateRange
from spaceeye_stac.settings import Settings


def test_intervals_agree_with_the_reference(golden: Path) -> None:
    rows = json.loads((golden / "intervals.json").read_text())
    assert len(rows) >= 19
    for row in rows:
        found = intervals(row["length"], row["window"], row["step"])
        assert [[w.read.start, w.read.stop] for w in found] == row["read"], row["length"]
        assert [[w.write.start, w.write.stop] for w in found] == row["write"], row["length"]
        inner = [[w.write.start - w.read.start, w.write.stop - w.read.start] for w in found]
        assert inner == row["inner"], row["length"]


@given(
    length=st.integers(1, 400),
    duration=st.integers(1, 120),
    overlap=st.floats(0, 0.95),
)
def test_written_days_are_the_request_once_each(length: int, duration: int, overlap: float) -> None:
    first = date(2020, 2, 27)
    days = DateRange(first, first + timedelta(days=length - 1))
    settings = Settings(duration=duration, time_overlap=overlap)
    laid = windows_of(days, settings)
    assert [day for w in laid for day in w.write] == list(range(length))
    for w in laid:
        assert w.read.start <= w.write.start
        assert w.write.stop <= w.read.stop
        assert len(w.read) <= duration
        assert w.read.start >= -(duration // 2)
        assert w.read.stop <= length + duration // 2


@given(length=st.integers(1, 400), more=st.integers(1, 60))
def test_every_day_has_context_and_a_longer_request_changes_no_earlier_window(length: int, more: int) -> None:
    first = date(2018, 4, 11)
    laid, longer = (
        windows_of(DateRange(first, first + timedelta(days=n - 1)), Settings(method="damped"))
        for n in (length, length + more)
    )
    for w in laid:
        for day in w.write:
            assert day - w.read.start >= 12
            assert w.read.stop - 1 - day >= 11
    whole = [w.read for w in laid if w.read.stop < length + 24]
    assert whole == [w.read for w in longer][: len(whole)]


def test_all_is_one_window_over_the_range() -> None:
    (only,) = windows_of(DateRange(date(2018, 1, 1), date(2018, 12, 31)), Settings(duration="all"))
    assert only.read == only.write == range(365)


@given(
    length=st.integers(1, 400),
    duration=st.one_of(st.integers(1, 120), st.just("all")),
    acquired=st.sets(st.integers(-130, 430)),
)
def test_causal_windows_tile_the_request_and_read_no_later_day(length: int, duration: Any, acquired: set[int]) -> None:
    first = date(2020, 2, 27)
    days = DateRange(first, first + timedelta(days=length - 1))
    settings = Settings(duration=duration, causal=True)
    known = days_read(days, settings)
    seen = sorted(day for day in acquired if day in known)
    laid = causal_windows(days, seen, settings)
    assert [day for w in laid for day in w.write] == list(range(length))
    spans = settings.window_days(days)
    for w in laid:
        assert known.start <= w.read.start
        assert w.read.stop <= w.write.stop
        assert len(w.read) == spans or w.read.start == known.start
        before = [day for day in seen if day in w.read]
        latest = max([day for day in seen if day <= w.write.start], default=known.start - spans)
        # the very looks of the window that ends with the last acquisition, or with the first day of the request
        last = max(latest, 0)
        expected = [day for day in seen if last - spans < day <= last] if w.write.start - last < spans else []
        assert before == expected
        assert not [day for day in seen if w.write.start < day < w.write.stop]


@given(length=st.integers(2, 200), more=st.integers(1, 60), acquired=st.sets(st.integers(-60, 260)))
def test_what_comes_later_changes_no_earlier_causal_window(length: int, more: int, acquired: set[int]) -> None:
    first, settings = date(2018, 4, 11), Settings(duration=48, causal=True)

    def reads(last: int, seen: list[int]) -> dict[int, range]:
        days = DateRange(first, first + timedelta(days=last - 1))
        laid = causal_windows(days, [day for day in seen if day in days_read(days, settings)], settings)
        return {day: w.read for w in laid for day in w.write}

    seen = sorted(acquired)
    known = reads(length, seen)
    assert known.items() <= reads(length + more, seen).items()
    half = length // 2
    ended = reads(length, [day for day in seen if day <= half])
    assert {day: read for day, read in ended.items() if day <= half} == {
        day: read for day, read in known.items() if day <= half
    }
