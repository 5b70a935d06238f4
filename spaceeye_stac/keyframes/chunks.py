"""Files of Zarr chunks that hold raw values and their CRC-32C, written from top to bottom and read at once.

Zarr itself writes a chunk only as a whole, and takes many times longer for either.
"""

from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

CHECK_BYTES = 4
BYTE_ORDER: Final = "little"


class GrowingChunk:
    """The file of a chunk `(y, x)`, which counts as damaged until it is finished; its place may be linked elsewhere."""

    def __init__(self, path: Path, shape: tuple[int, int], dtype: "np.dtype[np.generic]", fill: float) -> None:
        self._path, self._shape, self._dtype, self._fill = path, shape, dtype, fill
        self._rows = self._check = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def add(self, rows: NDArray[np.generic]) -> None:
        """Put some more rows; columns that they lack are filled."""
        short = self._shape[1] - rows.shape[1]
        whole = np.pad(rows, ((0, 0), (0, short)), constant_values=self._fill) if short else np.ascontiguousarray(rows)
        with self._path.open("ab") as file:
            file.write(whole.view(np.uint8).data)
        self._rows += len(whole)
        self._check = google_crc32c.extend(self._check, whole.view(np.uint8))

    def finish(self) -> None:
        """Fill the rows that are lacking, and say what all must be."""
        self.add(np.full((self._shape[0] - self._rows, self._shape[1]), self._fill, self._dtype))
        with self._path.open("ab") as file:
            file.write(self._check.to_bytes(CHECK_BYTES, BYTE_ORDER))


def read_chunk(path: Path) -> NDArray[np.uint8]:
    """Read the bytes of a chunk; ValueError where they are not those that were written."""
    content = np.fromfile(path, np.uint8)
    values, check = content[:-CHECK_BYTES], content[-CHECK_BYTES:]
    if google_crc32c.value(values) != int.from_bytes(check.tobytes(), BYTE_ORDER):
        raise ValueError(check)
    return values
