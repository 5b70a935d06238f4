"""Temporary folders: gone at the end, and after a kill with the next one; those at work stay."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spaceeye_stac.collection.durable import TEMPORARY, temporary_folder

LEAVES = """
import os, signal
from spaceeye_stac.collection.durable import temporary_folder
with temporary_folder() as folder:
    (folder / "table").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_program_left_is_removed_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LEAVES], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "table").is_file()
    elsewhere = tmp_path / "elsewhere" / "thesis.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("years of work")
    (tmp_path / f"{TEMPORARY}link").symlink_to(elsewhere.parent)
    with temporary_folder() as one:
        assert not left.exists()
        with temporary_folder() as other:
            assert one.is_dir()
            assert other.is_dir()
            assert one != other
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", f"{TEMPORARY}link"}
    assert elsewhere.is_file()


def test_many_that_begin_at_once_each_have_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may take the new folder of another for left, which then makes another one, and says nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def use(number: int) -> bool:
        with temporary_folder() as folder:
            (folder / "mine").write_text(str(number))
            return (folder / "mine").read_text() == str(number) and len(list(folder.iterdir())) == 1

    with ThreadPoolExecutor(16) as pool, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert all(pool.map(use, range(800)))
        gc.collect()
    assert [str(one.message) for one in said] == []
    assert not list(tmp_path.iterdir())
