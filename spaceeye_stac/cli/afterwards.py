"""What is done with a run's folder once it is there: publish and withdraw it, serve it; and what platforms ask for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spaceeye_stac.cli.options import AsJson, AssetBaseUrl, AssetsTo, Ingest, Prune, Quiet, Replace, TilesUrl, To, Wait
from spaceeye_stac.cli.printing import BarProgress, print_report, print_text, printed_failures, progress_bars

if TYPE_CHECKING:
    from spaceeye_stac.publishing import Report


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
    report = bring(
        folder,
        target,
        as_json=as_json,
        quiet=quiet,
        asset_base_url=asset_base_url,
        assets_to=assets_to,
        tiles_url=tiles_url,
        prune=prune,
        overwrite=overwrite,
        ingest=ingest,
        wait=wait,
    )
    print_report(report, as_json=as_json)


def bring(folder: Path, target: str, *, as_json: bool, quiet: bool, **options: Any) -> "Report":  # noqa: ANN401
    """Publish with progress bars; the report of a publication that is not whole is printed before its error."""
    from spaceeye_stac.publishing import publish as send  # noqa: PLC0415

    with progress_bars(quiet=quiet) as bars, printed_failures(as_json=as_json):
        return send(folder, target, **options, progress=BarProgress(bars))


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
