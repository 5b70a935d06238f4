"""The stages in a row: search, process, publish.

Rooms are named here by themselves: what they give is loaded when it is used, so that a refusal does not wait for torch.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spaceeye_stac import engine, sources, viewing
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import Progress, Scene, silent
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings

if TYPE_CHECKING:
    import xarray as xr

    from spaceeye_stac.engine import EachDay, Plan, Result, RunRequest
    from spaceeye_stac.sources import SceneList

logger = logging.getLogger(__name__)
Announce = Callable[["Plan"], None]
Holdout = Callable[[Sequence[Scene], Query, Settings], Json]


def interpolate(scenes: Sequence[Scene], query: Query, settings: Settings | None = None) -> "xr.Dataset":
    """Every requested day as a lazy cube; no pixel is read before something is computed.

    Parameters
    ----------
    scenes
        What `search` returned, or some of it.
    query
        What they were searched with: its region, days and bands are those of the cube.
    settings
        How to compute.

    Returns a Dataset on dask with `reflectance` `(time, band, y, x)` float32 (NaN = nodata) and `clear_distance`
    `(time, y, x)` uint8 (days to the nearest clear look, 255 = none), one step a day, and its CRS in `spatial_ref`.
    Scenes that the query's `unreadable` drops stand in its attribute `spaceeye:warnings`.
    Raises InvalidInputError and NoScenesError here, ReadError and NoClearLookError when it is computed.

    """
    if len({tuple(scene.bands) for scene in scenes}) != 1:
        raise InvalidInputError("scenes must be at least one and have the same bands; use what search returned.")
    settings = settings or Settings()
    readable = engine.readable_scenes(scenes, query, settings)
    jobs = engine.grid_jobs(readable, query, settings)
    if len(jobs) > 1:
        names = ", ".join(job.grid.name for job in jobs)
        raise InvalidInputError(
            f"tiling 'mgrs' gives grids {names}, and interpolate gives one Dataset; name one of them with tiles."
        )
    found = engine.lazy_days(jobs[0])
    return found.assign_attrs({"spaceeye:warnings": list(readable.unreadable)} if readable.unreadable else {})


def run(
    query: Query,
    settings: Settings | None = None,
    *,
    out: str | Path,
    scenes: object | None = None,
    overwrite: bool = False,
    update: bool = False,
    output: Output | None = None,
    resources: Resources | None = None,
    progress: Progress | bool = silent,
    holdout: Holdout | None = None,
    each_day: "EachDay | None" = None,
    announce: Announce | None = None,
    report: bool = True,
) -> "Result":
    """Do everything: search, solve, and publish one item a day as a static collection in the folder `out`.

    A run that was interrupted goes on where it was when it is called again: what is finished is known by what it was
    made from. A finished run in `out` of the very same request stays as it is, and the Result names the scenes that are
    new since. Nothing appears in `out` before the run is complete.

    Parameters
    ----------
    query, settings
        What to look for, and how to compute.
    out
        Folder of the new collection, or its place in an object store: s3://, az:// or gs://, with the credentials that
        the environment of this and of every worker has. Workers then share nothing but the store.
    scenes
        Used instead of a search: what `search` returned, or items in any form in which `Query.catalog` takes them, as a
        platform that runs this has them already.
    overwrite
        Start anew, and replace the run in `out`.
    update
        Take over what still holds of the run in `out`: new or changed scenes, or more days, redo only what they touch.
    output, resources
        How the days are written, and what may be used; no value depends on either.
    progress
        Called with a stage's name, the steps done and their number; or True, for a bar a stage.
    holdout
        Scores the method on hidden pixels; what it returns stands in the collection as `spaceeye:holdout`.
    each_day
        Called soon after a day is finished, with the folder its files are in, the collection as far as it is known, and
        its item.
    announce
        Called with the plan of the whole run before any pixel is read.
    report
        Leave a page `report.html` in the folder, with a film, what was seen and used, and how good it is.

    Returns what was published. Raises SpaceEyeError's children, each with the value and the remedy.

    """
    engine.leave_to_main()
    settings, output, resources = settings or Settings(), output or Output(), resources or Resources()
    _check(settings, output, overwrite=overwrite, update=update)
    with engine.run_place(out) as place:
        request = engine.RunRequest.of(query, settings, output)
        earlier = None if overwrite else engine.RunRequest.of_finished(place.folder)
        if not overwrite and not update and engine.RunRequest.is_that_of(place.folder, request):
            same = engine.unchanged(place.folder, query, _found(query, settings, scenes, earlier))
            return replace(same, **place.named)
        engine.start_early(resources)
        with (
            engine.reporting(progress=progress) as shown,
            place.staged(overwrite=overwrite, update=update) as folder,
            engine.open_workers(resources, folder) as workers,
        ):
            request = engine.settled_request(request, folder, place.folder if update else None)

            # search
            start = time.perf_counter()
            found = _found(query, settings, scenes, earlier)
            logger.info("search: %d scenes in %.1f s", len(found), time.perf_counter() - start)
            request = request.with_scenes(found, folder)
            place.begin(folder)
            budget = workers.budget(resources)
            if announce is not None:
                announce(engine.plan_of_scenes(found, query, settings, output, budget))
            scores = holdout(found, query, settings) if holdout else None

            # process: each grid's cells to keyframes, and those to the files of days
            jobs, files = engine.grid_jobs(found, query, settings), place.files(folder)
            engine.drop_torn(folder)
            works = [
                engine.GridWork(job, folder, place.folder, request, output, budget, each_day, files) for job in jobs
            ]
            grids = [engine.fill_grid(work, workers, place.guarded(shown), update=update) for work in works]

            # publish: the folder becomes a collection, and takes its place when this block ends
            place.bring_days(grids)
            result = engine.finish(grids, scores, found, viewing.draw_report if report else None)
        return replace(result, **place.named)


def _found(query: Query, settings: Settings, scenes: object | None, earlier: "RunRequest | None") -> "SceneList":
    """The scenes that can be read, of those that are at hand or else of a search; an `earlier` run has read some."""
    chosen = sources.search(query, settings) if scenes is None else sources.scenes_for(query, settings, scenes)
    return engine.readable_scenes(chosen, query, settings, earlier)


def _check(settings: Settings, output: Output, *, overwrite: bool, update: bool) -> None:
    """Raise InvalidInputError for what cannot go together."""
    if overwrite and update:
        raise InvalidInputError("overwrite and update exclude each other; give one.")
    if output.days == "virtual" and engine.retention_of(settings).every_day:
        raise InvalidInputError(
            f"days 'virtual' needs a method that is linear between acquisitions, and {settings.method_name!r} keeps "
            "every day; choose another method, or days 'files'."
        )
