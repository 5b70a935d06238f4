"""Scripts that run on worker processes, with a guard and without."""

import subprocess
import sys
from pathlib import Path

import pytest

import spaceeye_stac as se

SCRIPT = """
import pathlib
import spaceeye_stac as se

with pathlib.Path({log!r}).open("a") as log:
    log.write(__name__ + "\\n")
{guard}
    query = se.Query(catalog={catalog!r}, bbox={bbox!r}, datetime="2023-04-01/2023-04-04", bands=["B04"])
    resources = se.Resources(scheduler="processes", workers=2)
    print(len(se.run(query, out={out!r}, resources=resources).days))
"""


@pytest.mark.parametrize("guard", ["if __name__ == '__main__':", "if True:"], ids=["guarded", "not guarded"])
def test_a_script_without_a_guard_is_told_so_in_one_sentence(
    guard: str, simulated_query: se.Query, tmp_path: Path
) -> None:
    script, log, out = tmp_path / "script.py", tmp_path / "log.txt", tmp_path / "out"
    facts = {"catalog": str(simulated_query.catalog), "bbox": simulated_query.bbox, "guard": guard}
    script.write_text(SCRIPT.format(**facts, log=str(log), out=str(out)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=500)
    started = log.read_text().split()
    assert started[0] == "__main__"
    assert set(started[1:]) == {"__mp_main__"}
    if "name" in guard:
        assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
        return
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("Traceback") == 1, "of the script itself, and none of its workers"
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("spaceeye_stac.errors.")]
    assert said.startswith("spaceeye_stac.errors.WorkerError: No worker process could start: a script must call run ")
    assert "below if __name__ == '__main__'" in said
    assert len(started) <= 1 + 2 * 2, "workers were started once, and once more"
    assert not out.exists()
