"""A backend of xarray: `xr.open_dataset("out", engine="spaceeye")` gives the days of a run as a lazy cube.

xarray loads every backend whatever it opens, so that rooms are named here by themselves: they are loaded when used.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from spaceeye_stac import collection, days, sources
from spaceeye_stac.errors import InvalidInputError, redacted

DOCUMENTS = ("collection.json", "catalog.json")


def open(  # noqa: A001 - as xarray, rasterio and zarr call it; nothing is opened by the other one here
    place: str | Path,
    *,
    tile: str | None = None,
    chunks: Mapping[str, Any] | None = None,
    mask_and_scale: bool = True,
    drop_variables: str | Iterable[str] | None = None,
    allow_hrefs: Sequence[str] = (),
) -> xr.Dataset:
    """Every day of a run as a lazy cube; no pixel is read before something is computed.

    Parameters
    ----------
    place
        A run's folder, its `keyframes`, or the address of a collection that was published: a static one, or one of an
        API.
    tile
        Of a run with tiling: the MGRS tile to open. Of keyframes of several grids: the name of one.
    chunks
        Of dask, as `xarray.open_dataset` has them; left out, an image of a band, or a square of it, is a chunk.
    mask_and_scale
        False gives the DN of the files as they are, uint16 with 0 for nodata.
    drop_variables
        Names of variables to leave out.
    allow_hrefs
        As in `Query`: prefixes that items may name though their catalog is not trusted to.

    Returns a Dataset by the CF conventions, one step a day from the first day to the last, with its CRS in
    `spatial_ref` and the same chunks everywhere: `reflectance` `(time, band, y, x)` float32, NaN = nodata; where the
    method knows it `uncertainty` `(time, y, x)` float32, half the width of the 68 % interval, the largest over bands,
    and, where that was written, `band_uncertainty` of each; `clear_distance` `(time, y, x)` uint8, days to the nearest
    look that was used, 255 = none; `flags` `(time, y, x)` uint8, bits of `Flag`, 0 = no data. A day that was not
    published is nodata. Raises OutputError for a folder without a run or with an unfinished one, CatalogError for an
    address that cannot be read, InvalidInputError for days on several grids, and ReadError when it is computed.

    """
    return xr.open_dataset(
        place,
        engine=SpaceEyeBackend,
        chunks=dict(chunks or {}),
        mask_and_scale=mask_and_scale,
        drop_variables=drop_variables,
        tile=tile,
        allow_hrefs=allow_hrefs,
    )


class SpaceEyeBackend(BackendEntrypoint):
    """What xarray calls for the engine "spaceeye"; see `open`."""

    description = "Daily cubes of spaceeye-stac: a run's folder, its keyframes, or a published STAC collection"
    open_dataset_parameters = ("filename_or_obj", "mask_and_scale", "drop_variables", "tile", "allow_hrefs")

    def open_dataset(
        self,
        filename_or_obj: Any,  # noqa: ANN401 - xarray hands over anything
        *,
        mask_and_scale: bool = True,
        drop_variables: str | Iterable[str] | None = None,
        tile: str | None = None,
        allow_hrefs: Sequence[str] = (),
    ) -> xr.Dataset:
        """See `open`."""
        if not isinstance(filename_or_obj, str | Path):
            kind = type(filename_or_obj).__name__
            raise InvalidInputError(f"A {kind} cannot be opened; name a run's folder or a collection's address.")
        cube = _days_at(str(filename_or_obj), tile, allow_hrefs)
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        cube = cube.drop_vars(dropped & set(cube.variables))
        if not mask_and_scale:
            return cube
        return xr.decode_cf(cube, decode_times=False, decode_coords=False, decode_timedelta=False)

    def guess_can_open(self, filename_or_obj: Any) -> bool:  # noqa: ANN401
        """Whether it is the folder of a run, or its collection's file."""
        try:
            path = Path(filename_or_obj)
            path = path if path.name == DOCUMENTS[0] else path / DOCUMENTS[0]
            document = json.loads(path.read_bytes())
        except (TypeError, ValueError, OSError):
            return False
        return isinstance(document, dict) and collection.is_ours(document)


def _days_at(place: str, tile: str | None, allow_hrefs: Sequence[str]) -> xr.Dataset:
    """The days that a folder or an address holds, as they are stored."""
    path = Path(place)
    if "://" not in place:
        collection.check_finished(path)
        if path.is_dir() and not any((path / name).is_file() for name in DOCUMENTS):
            return days.stored_days(path, tile)
    elif not place.lower().startswith(("http://", "https://")):
        raise InvalidInputError(
            f"{redacted(place)} is not read by HTTP; give the public address of its collection.json, or a folder."
        )
    return days.published_days(sources.all_items(place, allow_hrefs=allow_hrefs), tile)
