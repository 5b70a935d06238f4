"""Memory of this process: few heaps, and what was freed given back to the system."""

from functools import cache

from spaceeye_stac.collection import of_glibc

M_ARENA_MAX, HEAPS = -8, 2  # of glibc's mallopt


@cache
def keep_few_heaps() -> None:
    """Let the threads of this process share two heaps: by default each keeps one, with what it once freed."""
    setting = of_glibc("mallopt")
    if setting is not None:
        setting(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Give the system the memory that was freed, where more is not needed soon; glibc keeps what lies between."""
    trim = of_glibc("malloc_trim")
    if trim is not None:
        trim(0)
