"""Requests of a publication side by side."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
CONNECTIONS = 8


def at_once(task: Callable[[T], R], todo: Iterable[T]) -> Iterator[R]:
    """Do tasks on threads, in order; the first error ends it, and nothing more is begun."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            yield from pool.map(task, todo)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def do_all(task: Callable[[T], object], todo: Iterable[T]) -> None:
    """Do tasks as `at_once`, for what they do rather than for what they return."""
    for _ in at_once(task, todo):
        pass
