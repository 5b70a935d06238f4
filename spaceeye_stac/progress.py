"""How far something is: what is called with a stage's name, the steps done and their number."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def silent(_stage: str, _done: int, _total: int) -> None:
    """Report to nobody."""
