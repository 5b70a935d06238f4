"""The keyframe store: what is solved, per output grid, in a Zarr group; and what it holds, in words.

Between two keyframes a pixel is linear in time, so that a store is the whole result: any day is one blend away.
"""

import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from spaceeye_stac.collection import write_json
from spaceeye_stac.errors import DamagedCellError, OutputError
from spaceeye_stac.keyframes.chunks import read_chunk
from spaceeye_stac.keyframes.contents import Contents
from spaceeye_stac.keyframes.files import LOCAL_FILES, Files
from spaceeye_stac.keyframes.parts import WindowFacts
from spaceeye_stac.keyframes.tiles import BANDED
from spaceeye_stac.model import Cell
from spaceeye_stac.query import Json

FORMAT = 5
DONE = "done"
SAMPLES = "samples"
LOOKS = "look_flags"
CHUNKED = (*BANDED, "spread", LOOKS)
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError)


class KeyframeStore:
    """The keyframes of one grid in a Zarr group in the folder `path`.

    Arrays, cell beside cell, each with its margin, one chunk a cell: `images` and `as_seen` `(knot, band, y, x)`
    float32 normalised by `illuminance` `(band, day)`, `spread` `(knot, y, x)` float32, `look_flags` `(look, y, x)`
    uint8; and of each cell `noise` `(knot, band)` and `unseen` `(band,)`, in files of their own
    beside `done`. NaN where there is nothing. Chunks carry a checksum. Cells written together share no chunk.
    With `files` they have their place elsewhere, and `path` is an image of what was needed of them.
    """

    def __init__(self, path: Path, contents: Contents, group: zarr.Group, files: Files = LOCAL_FILES) -> None:
        self.path, self.contents, self._group, self._files = path, contents, group, files
        self._facts: dict[tuple[int, int, int], Json] = {}

    @classmethod
    def create(cls, path: Path, contents: Contents, files: Files = LOCAL_FILES) -> "KeyframeStore":
        """Make an empty store, or go on with the one of the same contents that is there."""
        files.bring(_described(path))
        if path.exists():
            try:
                found = cls.open(path, files)
                same = found.contents.as_json() == contents.as_json()
                if same and np.array_equal(
                    found.contents.illuminance.values, contents.illuminance.values, equal_nan=True
                ):
                    return found
            except OutputError:
                pass  # a run died while it made this one, or another version did: what it holds is made anew
            shutil.rmtree(path)
            files.drop_below(path)
        group = zarr.open_group(store=LocalStore(path), mode="w")
        store = cls(path, contents, group, files)
        store._make_arrays()
        (path / DONE).mkdir()
        (path / SAMPLES).mkdir()
        group.attrs.update({"spaceeye:keyframes": FORMAT, "spaceeye:contents": contents.as_json()})
        files.send([file for file in path.rglob("*") if file.is_file()])
        return store

    @classmethod
    def open(cls, path: Path, files: Files = LOCAL_FILES) -> "KeyframeStore":
        """Open a finished or unfinished store; OutputError where there is none, or one of another format."""
        files.bring(_described(path))
        if not _described(path)[0].is_file():
            raise OutputError(f"Folder {path} holds no keyframes; name one that does.")
        try:
            group = zarr.open_group(store=LocalStore(path), mode="r+")
            version = group.attrs.get("spaceeye:keyframes")
        except UNREADABLE as error:
            raise _damaged(path, "its description", error) from error
        if version != FORMAT:
            raise OutputError(
                f"The keyframes in {path} are of format {version}, and this version reads {FORMAT}; make them again."
            )
        try:
            illuminance = np.asarray(_whole(path, group, "illuminance")[:])
            known = Contents.from_json(group.attrs["spaceeye:contents"], illuminance)  # type: ignore[arg-type]
        except UNREADABLE as error:
            raise _damaged(path, "its description", error) from error
        return cls(path, known, group, files)

    def _make_arrays(self) -> None:
        known = self.contents
        knots, looks = known.first_knots[-1], known.first_looks[-1]
        self._make("images", (knots, len(known.bands)), known.layout.tile, "f4")
        if known.as_seen:
            self._make("as_seen", (knots, len(known.bands)), known.layout.tile, "f4")
        self._make("spread", (knots,), known.layout.tile, "f4")
        self._make(LOOKS, (looks,), self.core_tile, "u1")
        illuminance = known.illuminance.values
        self._group.create_array("illuminance", data=illuminance, chunks=illuminance.shape, compressors=[Crc32cCodec()])

    def _make(self, name: str, leading: tuple[int, ...], tile: tuple[int, int], dtype: str) -> None:
        rows, columns = self.contents.layout.counts
        self._group.create_array(
            name,
            shape=(*leading, rows * tile[0], columns * tile[1]),
            chunks=(*(1 for _ in leading), *tile),
            dtype=dtype,
            fill_value=0 if dtype == "u1" else np.nan,
            compressors=[Crc32cCodec()],
        )

    @property
    def core_tile(self) -> tuple[int, int]:
        """Rows and columns of the largest core of a cell."""
        size = self.contents.layout.size
        return min(size, self.contents.grid.shape[0]), min(size, self.contents.grid.shape[1])

    def mark(self, cell: Cell, window: int, part: WindowFacts, key: str) -> None:
        """Say that one cell of one window is whole, and of what it was made."""
        noise = None if part.noise is None else part.noise.tolist()
        looks = part.looks[self.contents.scenes_in(window)].tolist()
        facts = {
            "key": key,
            "looks": looks,
            "noise": noise,
            "unseen": None if part.unseen is None else part.unseen.tolist(),
        }
        facts["damping_factor"] = part.damping_factor
        facts["check"] = _check(facts)
        path = self.mark_file(cell, window)
        path.parent.mkdir(exist_ok=True)
        write_json(path, facts)
        self._files.send([path])

    def mark_file(self, cell: Cell, window: int) -> Path:
        """Where it says that this cell of this window is whole."""
        return self.path / DONE / f"{window}-{cell.index[0]}-{cell.index[1]}.json"

    def has(self, cell: Cell, window: int, key: str) -> bool:
        """Whether this cell of this window is done, from just that."""
        return self.key(cell, window) == key

    def key(self, cell: Cell, window: int) -> str | None:
        """What stands for all that this cell of this window was made from; None where it is not done."""
        try:
            return str(self._fact(cell, window)["key"])
        except DamagedCellError:
            return None

    def _fact(self, cell: Cell, window: int) -> Json:
        place = (window, *cell.index)
        if place not in self._facts:
            path = self.mark_file(cell, window)
            self._files.bring([path])
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
                if facts.pop("check") != _check(facts):
                    raise ValueError(facts)
                self._facts[place] = facts
            except UNREADABLE as error:
                raise DamagedCellError(
                    f"The keyframes in {self.path} lack cell {cell.index} of window {window}; make them again.",
                    cell.index,
                ) from error
        return self._facts[place]

    def bring_marks(self, cells: Sequence[Cell]) -> None:
        """Have here what says which windows of some cells are whole."""
        windows = range(len(self.contents.windows))
        self._files.bring(self.mark_file(cell, window) for cell in cells for window in windows)

    def bring_knots(self, window: int, knots: Sequence[int]) -> None:
        """Have here what the days between some knots of a window are made from, of all cells."""
        self._files.bring(self._files_of(window, knots))

    def _files_of(self, window: int, knots: Sequence[int]) -> Iterator[Path]:
        known, bands = self.contents, range(len(self.contents.bands))
        for cell in known.layout.cells:
            yield self.mark_file(cell, window)
            yield from self.chunks(LOOKS, window, cell)
            for knot in (known.first_knots[window] + k for k in knots if k < len(known.knots[window])):
                yield self.chunk_file("spread", (knot,), cell)
                yield from (self.chunk_file(name, (knot, band), cell) for name in BANDED for band in bands)

    def send(self, paths: Iterable[Path]) -> None:
        """Keep some of its files in their place."""
        self._files.send(paths)

    def forget(self, index: tuple[int, int]) -> None:
        """Drop all that is kept of the cell of this row and column, so that it is solved again."""
        cell = self.contents.layout.cell(*index)
        for window in range(len(self.contents.windows)):
            self._facts.pop((window, *index), None)
            self._files.drop([self.mark_file(cell, window)])
            for name in CHUNKED:  # Zarr reads what is there before it writes a part of it
                self._files.drop(self.chunks(name, window, cell))
        self._files.drop([self._sample_file(cell)])

    def chunks(self, name: str, window: int, cell: Cell) -> Iterator[Path]:
        """Files of a cell's chunks in one window, knot by knot (or look by look) and band by band."""
        first = self.contents.first_looks if name == LOOKS else self.contents.first_knots
        bands = [(band,) for band in range(len(self.contents.bands))] if name in BANDED else [()]
        for n in range(first[window], first[window + 1]):
            for band in bands:
                yield self.chunk_file(name, (n, *band), cell)

    def is_whole(self, cell: Cell, window: int) -> bool:
        """Whether a cell of a window is done and all its chunks are whole."""
        if self.key(cell, window) is None:
            return False
        try:
            for name in self.kept(cell, window):
                for chunk in self.chunks(name, window, cell):
                    self._files.check_chunk(chunk)
        except UNREADABLE:
            return False
        return True

    def kept(self, cell: Cell, window: int) -> list[str]:
        """Names of the arrays in which a finished cell has chunks."""
        must = {"images", LOOKS} | ({"spread"} if self._fact(cell, window)["noise"] is not None else set())
        must |= {"as_seen"} if self.contents.as_seen and self.contents.looked(window) else set()
        return [
            name for name in CHUNKED if name in must or any(map(self._files.is_there, self.chunks(name, window, cell)))
        ]

    def chunk_file(self, name: str, at: tuple[int, ...], cell: Cell) -> Path:
        """Where the chunk of these indices, as knot and band, of a cell is."""
        return self.path.joinpath(name, "c", *map(str, (*at, *cell.index)))

    def _sample_file(self, cell: Cell) -> Path:
        return self.path / SAMPLES / f"{cell.index[0]}-{cell.index[1]}.npz"

    def write_sample(self, cell: Cell, *arrays: NDArray[Any]) -> None:
        """Keep a few pixels of a cell, as arrays."""
        target = self._sample_file(cell)
        partial = target.with_suffix(".partial")
        target.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, *arrays)
        partial.rename(target)
        self._files.send([target])

    def sample(self, cell: Cell) -> list[NDArray[Any]] | None:
        """Return the few pixels of a cell; None where there are none that can be read."""
        self._files.bring([self._sample_file(cell)])
        try:
            return _arrays(self._sample_file(cell))
        except (BadZipFile, *UNREADABLE):
            return None

    def samples(self) -> list[list[NDArray[Any]]]:
        """Return the few pixels of every cell that has some, cell by cell; DamagedCellError where they are damaged."""
        found = []
        self._files.bring(self._sample_file(cell) for cell in self.contents.layout.cells)
        for cell in self.contents.layout.cells:
            path = self._sample_file(cell)
            if path.is_file():
                try:
                    found.append(_arrays(path))
                except (BadZipFile, *UNREADABLE) as error:
                    raise DamagedCellError(str(_damaged(self.path, path.name, error)), cell.index) from error
        return found

    def looks(self, window: int) -> NDArray[np.int64]:
        """Clear pixels taken from each scene `(scene,)` in a window, over all cells."""
        counts = [self._fact(cell, window)["looks"] for cell in self.contents.layout.cells]
        found = np.zeros(len(self.contents.scene_days), np.int64)
        found[self.contents.scenes_in(window)] = np.sum(counts, axis=0)
        return found

    def tile(self, name: str, window: int, index: int, cell: Cell, band: int = 0) -> NDArray[Any]:
        """See `Tiles`; OutputError where the cell is not done or a chunk is damaged or missing."""
        self._fact(cell, window)
        if name == LOOKS:
            return self._chunk(name, (self.contents.first_looks[window] + index,), cell, cell.core.shape)
        knot = self.contents.first_knots[window] + index
        return self._chunk(name, (knot, band) if name in BANDED else (knot,), cell, cell.reach.shape)

    def _chunk(self, name: str, at: tuple[int, ...], cell: Cell, shape: tuple[int, int]) -> NDArray[Any]:
        """Read a chunk's file, as a `CellWriter` wrote it; Zarr would take a lost one for empty."""
        tile, dtype = (self.core_tile, "u1") if name == LOOKS else (self.contents.layout.tile, "<f4")
        path = self.chunk_file(name, at, cell)
        self._files.bring([path])
        try:
            content = read_chunk(path)
            return content.view(dtype).reshape(tile)[: shape[0], : shape[1]]
        except UNREADABLE as error:
            damage = _damaged(self.path, f"{name} of cell {cell.index}", error)
            raise DamagedCellError(str(damage), cell.index) from error

    def noise(self, window: int, index: int, cell: Cell) -> NDArray[np.float32] | None:
        """See `Tiles`."""
        fact = self._fact(cell, window)
        if fact["noise"] is None:
            return None
        return np.array(fact["unseen"] if index < 0 else fact["noise"][index], np.float32)

    def damping_factor(self, window: int, cell: Cell) -> float:
        """See `Tiles`."""
        return float(self._fact(cell, window)["damping_factor"] or self.contents.damping_factor)


def _described(path: Path) -> list[Path]:
    """The files that say what a store holds."""
    return [path / "zarr.json", *(path / "illuminance" / name for name in ("zarr.json", "c/0/0"))]


def _whole(path: Path, group: zarr.Group, name: str) -> "zarr.Array[Any]":
    """Return an array of one chunk; OSError where that is missing, which Zarr takes for empty."""
    found: zarr.Array[Any] = group[name]  # type: ignore[assignment]
    path.joinpath(name, "c", *("0" for _ in found.shape)).stat()
    return found


def _arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def _check(facts: Json) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def _damaged(path: Path, part: str, error: Exception) -> OutputError:
    return OutputError(
        f"The keyframes in {path} are damaged: {part} cannot be read ({type(error).__name__}); "
        "remove the folder and run again."
    )
