"""Phase 1 as a whole: all squares of a grid, on the workers."""

import math

from spaceeye_stac.engine.memory import give_back
from spaceeye_stac.engine.schedulers import Workers
from spaceeye_stac.engine.solving import SolveTask
from spaceeye_stac.keyframes import CellLayout, views_of
from spaceeye_stac.model import Progress


def solve_all(workers: Workers, task: SolveTask, layout: CellLayout, progress: Progress) -> None:
    """Call a task with every square of cells."""
    # the largest first, so that all workers end together
    squares = sorted(layout.groups(task.how.side), key=lambda cells: -math.prod(views_of(cells).shape))
    groups = [tuple(cell.index for cell in cells) for cells in squares]
    if task.whole is not None:
        task(groups[0])
        progress("solving", 1, 1)
        return
    workers.map(task, groups if any(task.keys) else [], "solving", progress, most=task.how.at_work)
    give_back()
