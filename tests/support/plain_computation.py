"""The whole computation a second time: plain numpy, a dense float64 solve per pixel, straight from the GeoTIFFs."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from spaceeye_stac.query import DEFAULT_BANDS

Array = NDArray[np.float64]


class Chip:
    """The Belgian chip: every scene of a span of days as `(day, band, y, x)` DN and `clear`."""

    def __init__(self, catalog: Path, first: date, days: range) -> None:
        self.days: list[int] = []
        values, clear = [], []
        for folder in sorted((catalog.parent / "sentinel-2-l2a").glob("S2_*")):
            stamp = folder.name.split("_")[2]
            day = (date(int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8])) - first).days
            if day in days:
                self.days.append(day)
                values.append(np.stack([self._pixels(folder / f"{band}.tif") for band in DEFAULT_BANDS]))
                clear.append(np.isin(self._pixels(folder / "SCL.tif"), [4, 5, 6, 7]))
        self.values, self.clear = np.stack(values), np.stack(clear)
        assert (self.values > 0).all(), "the chip has no nodata, which keeps this second way simple"

    @staticmethod
    def _pixels(path: Path) -> NDArray[np.uint16]:
        with rasterio.open(path) as source:
            image: NDArray[np.uint16] = source.read(1)
        factor = 64 // image.shape[0]
        return image.repeat(factor, axis=0).repeat(factor, axis=1)

    def crop(self, rows: slice, columns: slice) -> None:
        """Keep a part: illuminance is taken over what is left."""
        self.values, self.clear = self.values[..., rows, columns], self.clear[:, rows, columns]

    def illuminance(self, span: range) -> tuple[Array, list[int]]:
        """`(band, day)` over `span`, and the indices of the scenes that take part."""
        used = [n for n in range(len(self.days)) if self.clear[n].mean() > 0.1]
        means = np.stack([self.values[n][:, self.clear[n]].mean(axis=1) * 1e-4 for n in used], axis=1)
        when = np.array([self.days[n] for n in used])
        columns = []
        for day in span:
            exact = np.flatnonzero(when == day)
            weight = np.exp(-0.5 * np.abs(when - day))
            columns.append(means[:, exact[0]] if len(exact) else means @ (weight / weight.sum()))
        return np.stack(columns, axis=1), used

    def pixel(
        self, y: int, x: int, read: range, illuminance: Array, used: list[int], span: range, alpha: float
    ) -> Array | None:
        """Reflectance `(band, day)` over `read` by a dense solve over every day, or None where never clear."""
        weights, looks = np.zeros(len(read)), np.zeros((len(DEFAULT_BANDS), len(read)))
        for n in used:
            if self.days[n] in read and self.clear[n, y, x]:
                t = self.days[n] - read.start
                weights[t] = 1
                looks[:, t] = self.values[n, :, y, x] * 1e-4 / illuminance[:, self.days[n] - span.start]
        if not weights.any():
            return None
        step = np.diff(np.eye(len(read)), axis=0)
        normalised = np.linalg.solve(np.diag(weights) + alpha * step.T @ step, looks.T).T
        return np.asarray(normalised * illuminance[:, read.start - span.start : read.stop - span.start])


def day_of(first: date, index: int) -> str:
    return (first + timedelta(days=index)).isoformat()
