"""Progress bars for those who run this from Python, in a terminal as in a notebook."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spaceeye_stac.model import Progress, silent


@contextmanager
def reporting(*, progress: Progress | bool) -> Iterator[Progress]:
    """Give what is called with each step: the callback itself, a bar for each stage (True), or nothing (False)."""
    if not isinstance(progress, bool):
        yield progress
        return
    bars: dict[str, Any] = {}
    try:
        yield _reporter(bars) if progress else silent
    finally:
        for bar in bars.values():
            bar.close()


def _reporter(bars: dict[str, Any]) -> Progress:
    from tqdm.auto import tqdm  # noqa: PLC0415 - for those alone who ask for bars

    def report(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage)
        bars[stage].total = total
        bars[stage].update(done - bars[stage].n)

    return report
