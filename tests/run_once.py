"""A run in a process of its own that has imported everything before it says so: what disturbs it meets the work.

Called with the folder, the arguments of a query, and those of Resources, as JSON.
"""

import json
import os
import sys
from pathlib import Path

import spaceeye_stac as se
from spaceeye_stac.pipeline import run
from spaceeye_stac.resources import Resources


def forked(out: Path, query: se.Query) -> int:
    """Start a run in a copy of this process; gives its id. Only where no library has threads yet."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(query, out=out)
            code = 0
        finally:
            os._exit(code)
    return child


def main() -> None:
    out, query, resources = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    try:
        run(se.Query(**query), out=out, resources=Resources(**resources), progress=_told)
    except se.errors.SpaceEyeError as error:
        print(json.dumps([type(error).__name__, error.exit_code, str(error)]))
        sys.exit(error.exit_code)


def _told(stage: str, done: int, total: int) -> None:
    print(stage, done, total, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
