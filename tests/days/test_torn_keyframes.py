"""Keyframe COGs that a power cut tore: found by their checksums, and made anew with the days that read them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.collection.folder import KEYFRAME_COGS
from spaceeye_stac.days.virtual import CHECKSUMS, knot_cogs_of
from tests.support.damped import DAMPED
from tests.support.same_files import assert_same_files


def emptied(path: Path) -> None:
    """A file as a power cut may leave it: of its size, and zeros."""
    size, times = path.stat().st_size, (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.unlink()  # it may have another name, in a run that is whole
    path.write_bytes(bytes(size))
    os.utime(path, ns=times)


TEARS: dict[str, Callable[[Path], object]] = {
    "a COG": lambda knot: emptied(knot / "B04.tif"),
    "short": lambda knot: os.truncate(knot / "B02.tif", 900),
    "lost": lambda knot: (knot / "B11.tif").unlink(),
    "checksums": lambda knot: emptied(knot / CHECKSUMS),
    "no checksums": lambda knot: (knot / CHECKSUMS).unlink(),
    "nothing": lambda knot: [path.rename(path.with_suffix(".gone")) for path in knot.iterdir()],
}


@pytest.mark.parametrize("kind", ["interrupted", "update"])
def test_torn_keyframes_are_found_and_made_anew(kind: str, simulated_query: se.Query, tmp_path: Path) -> None:
    """One folder torn in each way, some with days that read them; of those days alone the others are kept."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    se.run(simulated_query, DAMPED, out=whole, output=se.Output(days="virtual"))
    place = Path(shutil.copytree(whole, out if kind == "update" else tmp_path / ".out.partial"))
    knots = sorted((place / KEYFRAME_COGS).glob("*/"))
    assert len(knots) > len(TEARS)
    read = {path.name: {cog.parent.name for cog in knot_cogs_of(path)} for path in place.glob("spaceeye_*")}
    torn = set()
    for knot, tear in zip(knots, TEARS.values(), strict=False):
        tear(knot)
        torn.add(knot.name)
    result = se.run(simulated_query, DAMPED, out=out, output=se.Output(days="virtual"), update=kind == "update")
    kept = {f"spaceeye_{day}" for day in result.kept}
    assert kept
    assert kept == {name for name, names in read.items() if not names & torn}
    assert_same_files(out, whole)
    for knot in (out / KEYFRAME_COGS).glob("*/"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=knot, check=True)
