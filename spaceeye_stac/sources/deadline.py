"""Calls that have no time limit of their own, ended all the same."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

Got = TypeVar("Got")


def within(seconds: float, call: Callable[[], Got]) -> Got:
    """What a call gives or raises; TimeoutError when it takes longer: its thread ends with the program."""
    found: list[Got] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    context = copy_context()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError
    return found[0]
