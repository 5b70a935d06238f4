"""Phase 1 as a whole: all squares of a grid, on the workers, while the tiles of those to come are read ahead."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from spaceeye_stac.engine.budget import is_remote
from spaceeye_stac.engine.cell import stretches
from spaceeye_stac.engine.memory import give_back
from spaceeye_stac.engine.schedulers import Task, Workers
from spaceeye_stac.engine.solving import SolveTask
from spaceeye_stac.keyframes import CellLayout, KeyframeStore, views_of
from spaceeye_stac.model import Progress
from spaceeye_stac.pixels import ReadingAhead, network_use, read_ahead

AHEAD = 0.5  # of what is kept at most: tiles that nobody has read yet
Away = Callable[[SolveTask], Task]
Square = tuple[tuple[int, int], ...]


def solve_all(workers: Workers, task: SolveTask, layout: CellLayout, progress: Progress, away: Away) -> None:
    """Call a task with every square of cells; `away` makes of it what workers call."""
    # the largest first, so that all workers end together
    squares = sorted(layout.groups(task.how.side), key=lambda cells: -math.prod(views_of(cells).shape))
    groups = [tuple(cell.index for cell in cells) for cells in squares]
    if task.whole is not None:
        task(groups[0])
        progress("solving", 1, 1)
        return
    todo = groups if any(task.keys) else []
    with _reading_ahead(workers, task, todo) as ahead:

        def report(stage: str, done: int, total: int) -> None:
            if ahead is not None:
                ahead.done(done)
            progress(stage, done, total)

        workers.map(away(task), todo, "solving", report, most=task.how.at_work)
    give_back()


def _reading_ahead(
    workers: Workers, task: SolveTask, squares: Sequence[Square]
) -> AbstractContextManager[ReadingAhead | None]:
    """What reads ahead: in this process alone, which knows what its workers have on their way.

    The first squares are read by the workers that begin with them, but for the scenes that their later windows add.
    """
    cache, at_work = network_use().cache, task.how.at_work
    if cache is None or not workers.shares_lock or not squares or not is_remote(task.job):
        return nullcontext()
    store = KeyframeStore.open(task.store, task.files)
    wanted = {w for w, key in enumerate(task.keys) if key}
    windows = [one for one in stretches(task.job, task.illuminance) if wanted & set(one.windows)]
    scenes = sorted({scene for stretch in windows for scene in stretch.scenes})
    later = [scene for scene in scenes if scene not in windows[0].scenes]
    left = [cells for cells in squares if task.cells_left(store, cells)]
    views = [views_of([store.contents.layout.cell(*index) for index in cells]) for cells in left]
    works = [partial(read_ahead, task.job, view, later if n < at_work else scenes) for n, view in enumerate(views)]
    return ReadingAhead(works, at_work, int(AHEAD * cache.most))
