import errno
import os

import pytest

from spaceeye_stac.errors import exhausted


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "The memory of this machine is used up"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "The memory of this machine is used up"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 GB"), "The memory of"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many files are open"),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), "Too many files are open"),
        (
            BaseException('Unable to build Tokio runtime: Os { code: 24, kind: TooManyOpenFiles, message: "" }'),
            "Too many",
        ),
        (
            BaseException('Unable to build Tokio runtime: Os { code: 11, kind: WouldBlock, message: "" }'),
            "No more thre",
        ),
        (RuntimeError("can't start new thread"), "No more threads can be started"),
    ],
)
def test_a_machine_that_is_too_small_is_a_sentence_with_a_remedy(error: BaseException, said: str) -> None:
    found = exhausted(error)
    assert found is not None
    assert str(found).startswith(said)
    assert found.exit_code == 1
    assert "workers" in str(found)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "no such file"), RuntimeError("a bug"), ValueError("x")])
def test_what_is_no_lack_of_the_machine_stays_what_it_is(error: Exception) -> None:
    assert exhausted(error) is None
