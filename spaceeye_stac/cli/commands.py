"""The command `spaceeye-stac`: parse, call, print; nothing imports it."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spaceeye_stac.cli.afterwards import bring, film, package, publish, series, serve, unpublish
from spaceeye_stac.cli.options import (
    Appearance,
    AsJson,
    AssetBaseUrl,
    AssetsTo,
    CollectionId,
    Duration,
    Method,
    Out,
    Overwrite,
    Quiet,
    RunTo,
    TilesUrl,
    Update,
    Verbose,
    Version,
    WithReport,
    days_of,
    with_groups,
)
from spaceeye_stac.cli.printing import (
    BarProgress,
    err_console,
    log_to_stderr,
    out_console,
    print_any_character,
    print_report,
    print_result,
    print_scores,
    print_text,
    progress_bars,
    truth_table,
)
from spaceeye_stac.errors import InvalidInputError, SpaceEyeError, exhausted
from spaceeye_stac.query import Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import DEFAULT_METHOD, REPLACED, Settings, method_names

if TYPE_CHECKING:
    from spaceeye_stac.pipeline import Holdout
    from spaceeye_stac.publishing import DayStream


PROGRAM = "spaceeye-stac"
FIELD = "--catalog planetary-computer --bbox 3.02,50.81,3.03,50.82"
DAYS = "--datetime 2023-04-11/2023-08-08"
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _example(name: str, more: str) -> str:
    """A command that works, as the end of its help, on lines that are short enough for 80 columns."""
    return f"Example:\n\n{PROGRAM} {name} {FIELD} \\\n  {DAYS} {more}".rstrip()


SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; docker stop, Slurm, Kubernetes
BASELINE_NAMES = ("nearest", "linear")
OF_SIGNAL = 128  # a process that a signal ends has this and its number as exit code


@app.callback()
def spaceeye_stac(version: Version = False) -> None:  # noqa: FBT002 - its callback prints it
    """A cloud-free Sentinel-2 image for every day, from any STAC catalog."""


@app.command(epilog=_example("search", ""))
@with_groups
def search(
    query: Query,
    duration: Duration = None,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List the scenes of a region and time, with those outside the days that serve as context."""
    from spaceeye_stac.sources import as_records  # noqa: PLC0415 - imports take seconds; --help does not wait for them
    from spaceeye_stac.sources import search as find  # noqa: PLC0415

    scenes = find(query, Settings(duration=days_of(duration)))
    print(json.dumps(as_records(scenes), indent=1) if as_json else scenes)  # noqa: T201 - data goes to stdout unstyled


@app.command(epilog=_example("plan", "--memory 4GB"))
@with_groups
def plan(
    query: Query,
    settings: Settings,
    resources: Resources,
    output: Output,
    method: Method = DEFAULT_METHOD,
    appearance: Appearance = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what a run would read, hold in memory, write and take, and what is missing, before any pixel is read."""
    from spaceeye_stac.engine import plan as planned  # noqa: PLC0415

    settings = replace(settings, method=method, appearance=appearance)
    found = planned(query, settings, resources=resources, output=output)
    print(json.dumps(found.as_json(), indent=1) if as_json else found)  # noqa: T201 - data goes to stdout unstyled


@app.command(epilog=_example("run", "--bands red,green,blue,nir --out out"))
@with_groups
def run(
    query: Query,
    settings: Settings,
    resources: Resources,
    output: Output,
    out: Out,
    collection_id: CollectionId = "spaceeye",
    method: Method = DEFAULT_METHOD,
    appearance: Appearance = None,
    evaluate_too: Annotated[bool, typer.Option("--evaluate", help="Score the method on hidden pixels.")] = False,  # noqa: FBT002
    overwrite: Overwrite = False,  # noqa: FBT002
    update: Update = False,  # noqa: FBT002
    target: RunTo = None,
    asset_base_url: AssetBaseUrl = None,
    assets_to: AssetsTo = None,
    tiles_url: TilesUrl = None,
    report: WithReport = True,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
    verbose: Verbose = 0,
) -> None:
    """Search, solve, and publish one cloud-free item a day as a new STAC collection.

    With --to, days are published there as they are finished; see `publish --help`.
    """
    log_to_stderr(verbose)
    settings = replace(settings, method=method, appearance=appearance, collection_id=collection_id)
    from spaceeye_stac.pipeline import run as run_all  # noqa: PLC0415

    where: dict[str, Any] = {"asset_base_url": asset_base_url, "assets_to": assets_to, "tiles_url": tiles_url}
    if target is not None and output.days == "virtual":
        raise InvalidInputError("days 'virtual' cannot be published with to; run with days 'files', or without to.")
    stream = None if target is None else _day_stream(target, overwrite=overwrite, **where)
    start = time.perf_counter()
    if target is not None and "://" in out:
        raise InvalidInputError(f"out {out} is in a store already; leave out to, or run into a folder.")
    with progress_bars(quiet=quiet) as bars, _ends_at_once(out):
        result = run_all(
            query,
            settings,
            out=out,
            overwrite=overwrite,
            update=update,
            output=output,
            resources=resources,
            progress=BarProgress(bars),
            holdout=_holdout(evaluate_too),
            each_day=stream.day if stream else None,
            announce=None if quiet else lambda plan: print_text(plan.short, err_console),
            report=report,
        )
    if not as_json:
        print_result(result)
    if target is not None:
        published = bring(Path(out), target, as_json=as_json, quiet=quiet, overwrite=overwrite, **where)
    if as_json:
        sent = {} if target is None else {"published": published.as_json()}
        found = result.as_json() | {"seconds": round(time.perf_counter() - start, 1), **sent}
        print(json.dumps(found, indent=1))  # noqa: T201 - data goes to stdout unstyled
    elif target is None and result.address is None:
        print_text(f"Look at it: {PROGRAM} serve {out}")
    elif target is not None:
        print_report(published, as_json=False)


@contextmanager
def _ends_at_once(out: str) -> Iterator[None]:
    """Let a signal end a run without waiting for the cells at work; a run may end at any moment and loses little.

    One into a store waits for what is on its way there, and gives its place back as after any other error.
    """
    from spaceeye_stac.collection import leave_staged  # noqa: PLC0415

    def end(number: int, _frame: object) -> None:
        err_console.show_cursor()
        if "://" in out:
            print_text(f"Interrupted: what is finished is kept in {out}.", err_console)
            raise SystemExit(OF_SIGNAL + number)
        kept = leave_staged(Path(out))
        said = "nothing was finished" if kept is None else f"{kept} is kept beside {out}"
        print_text(f"Interrupted: {said}; the same command again goes on from there.", err_console)
        sys.stdout.flush()
        os._exit(OF_SIGNAL + number)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _day_stream(target: str, **options: Any) -> "DayStream":  # noqa: ANN401 - of PublishOptions
    from spaceeye_stac.publishing import DayStream, PublishOptions  # noqa: PLC0415

    return DayStream(target, PublishOptions(**options))


def _holdout(wanted: bool) -> "Holdout | None":  # noqa: FBT001
    if not wanted:
        return None
    from spaceeye_stac.evaluation import summary  # noqa: PLC0415

    return summary


@app.command(epilog=_example("evaluate", "--picture evaluation.png"))
@with_groups
def evaluate(
    query: Query,
    settings: Settings,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; all but reference when left out.")] = None,
    appearance: Appearance = None,
    seed: Annotated[int, typer.Option(help="What is hidden and planted follows from it.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most so many dates of each kind.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG with an example and the error by gap length.")] = None,
    quiet: Quiet = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Score each method on hidden pixels and dates, on the film of every day, and on planted clouds and events."""
    named = None if methods is None else methods.split(",")
    unknown = sorted(set(named or ()) - {*BASELINE_NAMES, *method_names()})
    if unknown:
        for name in set(unknown) & REPLACED.keys():
            Settings(method=name)  # says what replaces it
        known = ", ".join([*BASELINE_NAMES, *method_names()])
        raise InvalidInputError(f"methods {', '.join(unknown)} are not known; choose from {known}.")
    if picture is not None and not picture.parent.is_dir():
        raise InvalidInputError(f"The folder of the picture {picture} does not exist; make it, or name another.")
    from spaceeye_stac.evaluation import evaluate as score  # noqa: PLC0415
    from spaceeye_stac.evaluation import picture as draw  # noqa: PLC0415
    from spaceeye_stac.sources import search as find  # noqa: PLC0415

    with progress_bars(quiet=quiet) as bars:
        scenes, report = find(query, Settings(duration="all")), BarProgress(bars)
        own = replace(settings, appearance=appearance)
        scores = score(scenes, query, own, methods=named, seed=seed, limit=limit, progress=report)
    if picture is not None:
        draw(scores, picture, scores.bands)
    if as_json:
        print(json.dumps(scores.as_json(), indent=1))  # noqa: T201 - data goes to stdout unstyled
    else:
        print_scores(scores.as_json())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo's catalog and days.")] = Path("demo"),
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Simulate a small cloudy Sentinel-2 catalog, run the whole line on it, and compare with the truth."""
    from spaceeye_stac.simulation import demo as run_demo  # noqa: PLC0415

    with progress_bars(quiet=quiet) as bars:
        report = run_demo(out, Settings(), BarProgress(bars))
    print_text(f"Published {report.count} days from a simulated catalog: {report.days}")
    out_console.print(truth_table(report.errors))
    print_text(
        f"Under cloud and shadow ({report.pixels:,} values) the published days differ from the truth by "
        f"{report.error:.4f} in reflectance on average; the cloudy scenes differ by {report.scene_error:.4f}."
    )
    print_text(f"Picture (scene, published day, truth): {report.picture}")
    print_text(f"Look at it: spaceeye-stac serve {out}")


for one in (film, series, publish, unpublish, package, serve):
    app.command()(one)


def main() -> None:
    """Run the command; an error of this package, or of a machine that is too small, is one sentence on stderr."""
    print_any_character()
    try:
        app(prog_name=PROGRAM)
    except BaseException as found:
        error = found if isinstance(found, SpaceEyeError) else exhausted(found)
        if error is None:
            raise
        print_text(f"Error: {error}", err_console)
        for note in getattr(error, "__notes__", ()):
            print_text(note, err_console)
        sys.exit(error.exit_code)
