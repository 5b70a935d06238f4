"""What a run will do, decided before any pixel is read: grids, acquisitions, windows, cells."""

from collections.abc import Sequence
from itertools import groupby

from spaceeye_stac.errors import InvalidInputError, ItemError, NoScenesError
from spaceeye_stac.keyframes import CellLayout, Retention, days_read, laid_windows
from spaceeye_stac.methods import mask_model_of, method_of
from spaceeye_stac.model import Acquisition, Grid, GridJob, Scene, metres_per_pixel
from spaceeye_stac.pixels import output_grid, tile_grid
from spaceeye_stac.query import Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources import checked_scenes


def grid_job(scenes: Sequence[Scene], query: Query, settings: Settings) -> GridJob:
    """Decide grid, acquisitions and windows of a run on one grid, before any pixel is read."""
    near = _near(scenes, query, settings)
    return _job(output_grid(query, near, settings), near, query, settings)


def grid_jobs(scenes: Sequence[Scene], query: Query, settings: Settings) -> tuple[GridJob, ...]:
    """Decide the jobs of a run, one a grid: a single one, or with `tiling` one for each tile that covers some of it.

    Raises NoScenesError where none is left, and ItemError for a scene without a tile where tiles are asked for.
    """
    if settings.tiling is None:
        return (grid_job(scenes, query, settings),)
    tiles: dict[str, list[Scene]] = {}
    for scene in _near(scenes, query, settings):
        if scene.tile is None:
            raise ItemError(f"Scene {scene.id} does not say its MGRS tile; leave out tiling, or the scene.")
        tiles.setdefault(scene.tile, []).append(scene)
    laid = [(tile_grid(query, tiles[name], settings), tiles[name]) for name in sorted(tiles)]
    jobs = tuple(_job(grid, near, query, settings) for grid, near in laid if grid is not None)
    if not jobs:
        raise NoScenesError(f"No scene found: those of {', '.join(sorted(tiles))} cover nothing of the region.")
    return jobs


def _near(scenes: Sequence[Scene], query: Query, settings: Settings) -> list[Scene]:
    """Return the scenes that some window reads, each with hrefs that it may name."""
    read = days_read(query.days, settings)
    near = [s for s in scenes if query.days.index(s.day) in read]
    if not near:
        raise NoScenesError(f"No scene found: {len(scenes)} scenes, none in the windows of {query.datetime}.")
    return checked_scenes(near, query)


def _job(grid: Grid, scenes: Sequence[Scene], query: Query, settings: Settings) -> GridJob:
    """Scenes of a day are merged in this order: those that need no resampling first, then by time and id."""
    _check_mask_model(scenes, grid, settings)
    ordered = sorted(scenes, key=lambda s: (s.day, s.epsg != grid.epsg, s.datetime, s.id))
    acquisitions = tuple(Acquisition(day, tuple(group)) for day, group in groupby(ordered, key=lambda s: s.day))
    return GridJob(
        days=query.days,
        grid=grid,
        bands=tuple(scenes[0].bands),
        acquisitions=acquisitions,
        windows=tuple(laid_windows(query.days, [query.days.index(one.day) for one in acquisitions], settings)),
        settings=settings,
    )


def _check_mask_model(scenes: Sequence[Scene], grid: Grid, settings: Settings) -> None:
    """Refuse a mask model that wants a band that a scene lacks, or that does not know pixels of this size."""
    model = mask_model_of(settings)
    if model is None:
        return
    for scene in scenes:
        lacking = [name for name in model.bands or () if name not in scene.bands and name not in scene.spare]
        if lacking:
            raise ItemError(
                f"Scene {scene.id} lacks {','.join(lacking)}, which mask_model {model.name} wants; leave the scene out "
                "with exclude, or choose another mask_model."
            )
    metres = metres_per_pixel(grid.geobox)
    if model.coarsest is not None and metres > model.coarsest:
        raise InvalidInputError(
            f"mask_model {model.name} knows pixels of up to {model.coarsest:g} m, and the output has {metres:g} m; "
            "give a finer resolution, or leave mask_model out."
        )


def layout_of(job: GridJob) -> CellLayout:
    """Cut a job's grid into the cells of its method, their borders on those of the source's tiles where known."""
    method = method_of(job.settings)
    anchor = (0, 0) if max(job.grid.shape) <= method.cell else _anchor(job, method.cell)
    return CellLayout(job.grid, method.cell, method.halo, method.margin, anchor)


def _anchor(job: GridJob, size: int) -> tuple[int, int]:
    """Pixels from the cell border before the grid's corner to that corner, cells counted from a source's corner."""
    here = (a for scene in job.scenes for a in scene.bands.values() if (a.epsg or scene.epsg) == job.grid.epsg)
    corner = next((asset.origin for asset in here if asset.origin), None)
    if corner is None:
        return 0, 0
    transform = job.grid.geobox.transform
    down, right = (corner[1] - transform.f) / -transform.e, (transform.c - corner[0]) / transform.a
    return round(down) % size, round(right) % size


def retention_of(settings: Settings) -> Retention:
    """What the method of these settings keeps."""
    method = method_of(settings)
    return Retention(
        every_day=method.every_day,
        as_seen=method.shows and settings.shows_looks,
        damping_factor=settings.damping_factor,
        truncates=method.truncates,
    )
