"""Files in a store whose tiles are cut off or damaged: one sentence, or the pixels where the damage is elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import Scene
from tests.pixels.test_loaders import TILED, of_files, read, scene, store, written
from tests.support.image_store import Store

__all__ = ["scene", "store"]  # fixtures
Damage = Callable[[bytes, float], bytes]


def cut(data: bytes, where: float) -> bytes:
    """The file as far as a share of it."""
    return data[: int(where * len(data))]


def overwritten(data: bytes, where: float) -> bytes:
    """The file with 300 other bytes at a share of it."""
    first = int(where * (len(data) - 300))
    noise = np.random.default_rng(int(1e6 * where)).bytes(300)
    return data[:first] + noise + data[first + 300 :]


def zeroed(data: bytes, where: float) -> bytes:
    """The file with a hole of zeros, as some disks and copies leave."""
    first = int(where * (len(data) - 5000))
    return data[:first] + bytes(5000) + data[first + 5000 :]


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize("damage", [cut, overwritten, zeroed])
def test_no_damaged_tile_becomes_pixels(
    damage: Damage, compress: str, store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "a.tif", TILED | {"compress": compress})
    written(tmp_path / "b.tif", TILED | {"dtype": "uint8"})
    whole = read(of_files(scene, tmp_path), monkeypatch)
    data, refused = (tmp_path / "a.tif").read_bytes(), 0
    for number, where in enumerate((0.05, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.9999)):
        place = tmp_path / f"{number}"  # under an address that was never asked for
        place.mkdir()
        (place / "a.tif").write_bytes(damage(data, where))
        (place / "b.tif").hardlink_to(tmp_path / "b.tif")
        try:
            found = read(of_files(scene, f"{store.url}/{number}"), monkeypatch)
        except ReadError as error:
            refused += f"{number}/a.tif" in str(error)
            continue
        np.testing.assert_array_equal(found.values, whole.values)
    assert refused
