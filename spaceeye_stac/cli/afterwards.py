"""What is done with a run's folder once it is there: film it, publish, withdraw and serve it; what platforms need."""

import json
from pathlib import Path
from typing import Annotated

import typer

from spaceeye_stac.cli.options import AsJson, AssetBaseUrl, AssetsTo, Ingest, Prune, Quiet, Replace, TilesUrl, To, Wait
from spaceeye_stac.cli.printing import BarProgress, print_report, print_text, printed_failures, progress_bars


def film(
    folder: Annotated[Path, typer.Argument(help="A folder that a run has made.")],
    out: Annotated[Path, typer.Option(help="The film: .mp4, .gif or .webp.")],
    bands: Annotated[str | None, typer.Option(help="Three, for red, green and blue.", metavar="A,B,C")] = None,
    index: Annotated[str | None, typer.Option(help="A spectral index in their place, as NDVI.")] = None,
    datetime: Annotated[str | None, typer.Option(help="A/B: these days alone, both included.")] = None,
    tile: Annotated[str | None, typer.Option(help="MGRS tile, where the run has several.")] = None,
    fps: Annotated[float, typer.Option(help="Days a second.")] = 8.0,
    edge: Annotated[int, typer.Option(help="Pixels of the picture's longer side, at most.")] = 960,
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Film every day of a run: a frame a day, with its date, how much of it was seen, and a scale."""
    from spaceeye_stac.viewing import film as made  # noqa: PLC0415

    three = None if bands is None else bands.split(",")
    with progress_bars(quiet=quiet) as bars:
        found = made(
            folder,
            out,
            bands=three,
            index=index,
            datetime=datetime,
            tile=tile,
            fps=fps,
            edge=edge,
            progress=BarProgress(bars),
        )
    print_text(f"{found.path}: {len(found.days)} days of {found.subject}, {found.size[0]} x {found.size[1]} pixels.")


def publish(
    folder: Annotated[Path, typer.Argument(help="A folder that a run has made.")],
    target: To,
    asset_base_url: AssetBaseUrl = None,
    assets_to: AssetsTo = None,
    tiles_url: TilesUrl = None,
    prune: Prune = False,  # noqa: FBT002
    overwrite: Replace = False,  # noqa: FBT002
    ingest: Ingest = None,
    wait: Wait = None,
    quiet: Quiet = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Publish a run to a STAC API, a GeoCatalog, an object store or a folder; again sends only what changed.

    Credentials come from the environment: SPACEEYE_STAC_TOKEN, _TOKEN_COMMAND, _USER and _PASSWORD, or _HEADER for an
    API; AWS_*, AZURE_STORAGE_*, GOOGLE_* for a store.
    """
    from spaceeye_stac.publishing import publish as bring  # noqa: PLC0415

    with progress_bars(quiet=quiet) as bars, printed_failures(as_json=as_json):
        report = bring(
            folder,
            target,
            asset_base_url=asset_base_url,
            assets_to=assets_to,
            tiles_url=tiles_url,
            prune=prune,
            overwrite=overwrite,
            ingest=ingest,
            wait=wait,
            progress=BarProgress(bars),
        )
    print_report(report, as_json=as_json)


def unpublish(
    collection: Annotated[str, typer.Argument(help="Id of a collection that was published.")],
    target: Annotated[
        str, typer.Option("--from", help="STAC API, geocatalog+https://..., s3://, az://, gs://, or folder.")
    ],
    datetime: Annotated[str | None, typer.Option(help="A/B: these days alone, both included.")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Withdraw a published collection, or some of its days, from where it is; the run's own folder stays."""
    from spaceeye_stac.publishing import unpublish as withdraw  # noqa: PLC0415

    print_report(withdraw(collection, target, datetime=datetime), as_json=as_json)


def package(
    form: Annotated[
        str,
        typer.Argument(
            help="process: its description as JSON Schema; cwl: an OGC application package; openeo: fill_clouds."
        ),
    ],
) -> None:
    """Print what a platform needs to know this package by."""
    from spaceeye_stac.platforms import packaged  # noqa: PLC0415

    print(json.dumps(packaged(form), indent=1))  # noqa: T201 - data goes to stdout unstyled


def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that a run or the demo has published.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8123,
    browse: Annotated[Path | None, typer.Option(help="A built stac-browser (its dist) to serve beside it.")] = None,
) -> None:
    """Serve a published folder on this machine and print its stac-browser link."""
    from spaceeye_stac.cli import server  # noqa: PLC0415 - only a server needs what it imports

    if browse is not None:
        server.check_browser(browse)
    link = server.browser_link(folder, port, browse)
    print_text(f"Serving {folder} on {server.address(folder, port, browse)} (Ctrl-C ends it)")
    print_text(f"stac-browser: {link}")
    server.serve(folder, port, browse)
