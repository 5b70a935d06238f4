"""Runs that get too little memory, too few threads or files: one sentence, nothing half-written, and they go on."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.support.forked_runs import Starter, starting
from tests.support.same_files import assert_same_files

SPARE = 50_000_000


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with starting() as running:
        yield running


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user may write to, as the process whose threads are counted is another's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def addresses_of(pid: int) -> int:
    """Bytes of addresses that a process has."""
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        (
            "RLIMIT_AS",
            None,
            r"memory \d\S+ GB is too little: .* takes .* GB; give more, or |The memory of this machine is ",
        ),
        ("RLIMIT_NPROC", 1, r"No more threads can be started; run again with fewer workers, or raise the limit "),
        ("RLIMIT_NOFILE", 12, r"Too many files are open; run again with fewer workers, or raise the limit "),
    ],
    ids=["memory", "threads", "files"],
)
def test_a_starved_run_ends_in_one_sentence_and_goes_on_when_it_has_more(
    limit: str, value: int | None, said: str, starter: Starter, simulated_query: se.Query, home: Path
) -> None:
    query, out = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-04"), home / "a" / "out"
    out.parent.mkdir()
    out.parent.chmod(0o777)
    limits = {limit: addresses_of(starter.process.pid) + SPARE if value is None else value}
    starter.start(query, out, workers=4, limits=limits)
    code, *error = starter.end()
    told = tuple(error)
    assert (code, told[:2]) in {(2, ("InvalidInputError", 2)), (1, ("SpaceEyeError", 1))}, told
    assert re.match(said, told[2]), told
    assert "\n" not in told[2]
    assert not out.exists()
    assert {path.name for path in out.parent.iterdir()} <= {".out.partial"}
    starter.start(query, out)
    assert starter.end() == [0]
    whole = home / "b" / "out"
    starter.start(query, whole)
    assert starter.end() == [0]
    assert_same_files(out, whole)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
