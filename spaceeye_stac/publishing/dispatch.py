"""`publish` and `unpublish`: a run's folder to wherever its target says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from spaceeye_stac.errors import PublishError, SpaceEyeError
from spaceeye_stac.model import Progress, silent
from spaceeye_stac.publishing.from_store import withdraw_from_store
from spaceeye_stac.publishing.report import PublishOptions, Report
from spaceeye_stac.publishing.run_folder import RunFolder, check_files, read_run_folder
from spaceeye_stac.publishing.targets import target_of
from spaceeye_stac.publishing.to_api import ApiStream, publish_to_api, withdraw_from_api
from spaceeye_stac.publishing.to_store import StoreStream, publish_to_store
from spaceeye_stac.publishing.versions import in_version
from spaceeye_stac.query import Json, parse_datetime

NAMED_FAILURES = 5


class HasPath(Protocol):
    """A run's result: what has the folder of the run as its `path`."""

    @property
    def path(self) -> Path:
        """The folder."""


def publish(
    run: str | Path | HasPath,
    target: str | Path,
    *,
    asset_base_url: str | None = None,
    assets_to: str | Path | None = None,
    tiles_url: str | None = None,
    prune: bool = False,
    overwrite: bool = False,
    ingest: str | None = None,
    wait: float | None = None,
    stac_version: str = "1.1",
    progress: Progress = silent,
) -> Report:
    """Publish a run to a STAC API, a GeoCatalog, an object store or a folder; again sends only what changed.

    Parameters
    ----------
    run
        What `se.run` returned, or the folder of a run.
    target
        The landing page of a STAC API with the Transaction extension (https://...), a GeoCatalog of Planetary Computer
        Pro (geocatalog+https://...), an object store (s3://, az://, gs://), or a folder. Credentials come from the
        environment.
    asset_base_url
        Public address under which the files are read; hrefs of assets begin with it.
    assets_to
        For an API: a store or folder to which the files are sent first.
    tiles_url
        Root of a titiler; each item gets a link to its map tiles there.
    prune
        Remove items that the run no longer has. Without it they stay.
    overwrite
        Replace a collection of the same id that is of another run of this package.
    ingest
        For a GeoCatalog: items that are new to it are not sent, but fetched by it from the static "catalog", or its
        "geoparquet", that is published at `assets_to`.
    wait
        Seconds to wait for what an API has only accepted (202); 60, for a GeoCatalog 900, where left out.
    stac_version
        Of the documents there: "1.1", or "1.0" for servers and readers that know no newer one.
    progress
        Called with a stage's name, the steps done and their number.

    Returns what became of each item, as it was read back from the target. Raises OutputError where `run` is no run's
    folder, TargetError, with nothing changed, where the target cannot be used, and PublishError, with the Report as its
    `report`, where some items were not published; the others are.

    """
    run_folder = read_run_folder(Path(run) if isinstance(run, str | Path) else run.path)
    check_files(run_folder)
    options = PublishOptions(
        asset_base_url=asset_base_url,
        assets_to=None if assets_to is None else str(assets_to),
        tiles_url=tiles_url,
        prune=prune,
        overwrite=overwrite,
        ingest=ingest,
        wait=wait,
        stac_version=stac_version,
    )
    run_folder = in_version(run_folder, stac_version)
    place = target_of(target)

    def step(done: int, total: int) -> None:
        progress("publishing", done, total)

    bring = publish_to_api if place.has_api else publish_to_store
    report = bring(run_folder, place, options, step)
    return _checked(report, "published to")


class DayStream:
    """Publishes the days of a run as they are finished: its `day` is what `run` calls for each.

    What goes wrong with one ends the stream and not the run, as publishing the whole run afterwards makes up for it;
    `error` says what it was. Raises TargetError and PublishError at once where the target cannot be used at all.
    """

    def __init__(self, target: str | Path, options: PublishOptions) -> None:
        place = target_of(target)
        self._stream = (ApiStream if place.has_api else StoreStream)(place, options)
        self._version = options.stac_version
        self.error: SpaceEyeError | None = None

    def day(self, folder: Path, collection: Json, item: Json) -> None:
        """Publish one day, whose files lie in `folder`."""
        if self.error is not None:
            return
        try:
            self._stream.day(in_version(RunFolder(folder, collection, (item,)), self._version))
        except SpaceEyeError as error:
            self.error = error


def _checked(report: Report, done: str) -> Report:
    """A report without failures; PublishError with it where there are any."""
    if not report.failed:
        return report
    total = len(report.failed) + len(report.sent) + len(report.unchanged) + len(report.removed)
    raise PublishError(
        f"{len(report.failed)} of {total} items were not {done} {report.target}: {_reasons(report.failed)}.", report
    )


def _reasons(failed: Mapping[str, str]) -> str:
    """Why items failed: the first ones by name, or once what is the same for all."""
    if len(failed) > 1 and len(set(failed.values())) == 1:
        names = list(failed)
        return f"{names[0]} to {names[-1]}, each: {failed[names[0]].rstrip('.')}"
    named = [f"{name}: {why.rstrip('.')}" for name, why in list(failed.items())[:NAMED_FAILURES]]
    return "; ".join(named) + (f"; and {len(failed) - len(named)} more" if len(failed) > len(named) else "")


def unpublish(collection: str, target: str | Path, *, datetime: str | None = None) -> Report:
    """Withdraw a collection that this package published, or some of its days, from a target.

    An API's items and collection are deleted; in a store or folder also the files that the items name.

    Parameters
    ----------
    collection
        Its id.
    target
        Where it was published: see `publish`.
    datetime
        "A/B": these days alone, both included; all when left out.

    Returns what became of each item. Items and files that this package did not make stay, and are `foreign` in it.
    Raises TargetError where there is no such collection, or this package did not make it, and PublishError where the
    target stays away or keeps an item.

    """
    place = target_of(target)
    days = None if datetime is None else parse_datetime(datetime)

    def chosen(day: str) -> bool:
        return days is not None and days.start.isoformat() <= day <= days.stop.isoformat()

    withdraw = withdraw_from_api if place.has_api else withdraw_from_store
    return _checked(withdraw(collection, place, None if days is None else chosen), "removed from")
