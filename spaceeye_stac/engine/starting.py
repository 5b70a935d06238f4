"""What is asked before anything is loaded."""

from multiprocessing import current_process


def leave_to_main() -> None:
    """End a worker process that is only starting, and for that runs the script of the main one once more.

    It says nothing: the main process will, of what it cannot start.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself tells
        raise SystemExit(1)
