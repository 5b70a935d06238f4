"""A publication that is killed at any moment is gone on with, and ends as one that nothing disturbs."""

import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.support.command import command_line

KILLS = 6


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def out(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-08")
    return se.run(query, out=tmp_path_factory.mktemp("published") / "out").path


def test_killed_at_any_moment_a_publication_ends_as_if_nothing_had_been(out: Path, tmp_path: Path) -> None:
    rng = random.Random(3)  # noqa: S311 - moments, not secrets
    whole, target = tmp_path / "whole", tmp_path / "target"
    start = time.monotonic()
    subprocess.run(command_line("publish", out, "--to", whole, "--quiet"), check=True, capture_output=True)
    seconds, killed = time.monotonic() - start, 0
    while killed < KILLS:
        with subprocess.Popen(command_line("publish", out, "--to", target, "--quiet"), stdout=subprocess.PIPE) as one:
            time.sleep(rng.uniform(0.3, 1) * seconds)
            one.send_signal(signal.SIGKILL)
        killed += one.returncode == -signal.SIGKILL
        for name, content in files_of(target).items() if target.exists() else ():
            assert files_of(whole).get(name) == content or "#" in name, "whole, or one of obstore's own on its way"
        if one.returncode == 0:
            break
    report = se.publish(out, target)
    assert not report.failed
    assert {name: content for name, content in files_of(target).items() if "#" not in name} == files_of(whole)
