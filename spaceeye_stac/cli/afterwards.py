"""What is done with a run's folder once it is there: series, film, publish, withdraw, serve; for platforms."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spaceeye_stac.cli.options import (
    AsJson,
    AssetBaseUrl,
    AssetsTo,
    Ingest,
    Prune,
    Quiet,
    Replace,
    StacVersion,
    TilesUrl,
    To,
    Wait,
)
from spaceeye_stac.cli.printing import (
    BarProgress,
    print_report,
    print_series,
    print_text,
    printed_failures,
    progress_bars,
)

if TYPE_CHECKING:
    from spaceeye_stac.publishing import Report


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
    stac_version: StacVersion = "1.1",
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
        stac_version=stac_version,
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


def series(
    place: Annotated[str, typer.Argument(metavar="OUT", help="A run's folder, or a published collection's address.")],
    index: Annotated[
        str, typer.Option(help="Comma-separated: bands, names of spectral indices, expressions as (B08-B04)/(B08+B04).")
    ] = "NDVI",
    zones: Annotated[Path | None, typer.Option(help="GeoJSON with polygons; the whole region when left out.")] = None,
    zone_name: Annotated[
        str | None, typer.Option(help="Property that names the zones; their id or number when left out.")
    ] = None,
    datetime: Annotated[str | None, typer.Option(help="A/B: these days alone, both included.")] = None,
    tile: Annotated[str | None, typer.Option(help="Of a run with tiling: the MGRS tile.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the series to this CSV file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the series to this Parquet file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the series into this PNG.")] = None,
) -> None:
    """Statistics of bands and indices over fields on every day of a run; a short table where no file is named."""
    from spaceeye_stac import viewing  # noqa: PLC0415 - imports take seconds; --help does not wait for them

    viewing.check_files([csv, parquet, plot])
    found = viewing.series(place, index, zones, datetime, zone_name=zone_name, tile=tile)
    for path, write in ((csv, viewing.write_csv), (parquet, viewing.write_parquet), (plot, viewing.plot_series)):
        if path is not None:
            write(found, path)
            print_text(f"{len(found)} rows in {path}" if path != plot else f"Picture: {path}")
    if csv is parquet is plot is None:
        print_series(found)


def package(
    form: Annotated[
        str,
        typer.Argument(
            help="process: its description as JSON Schema; cwl: an OGC application package; openeo: fill_clouds; "
            "queryables: by what an API can search days."
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
    """Serve a published folder on this machine: a page of its days to look at, and its files for stac-browser."""
    from spaceeye_stac import viewing  # noqa: PLC0415 - only a server needs what it imports

    if browse is not None:
        viewing.check_browser(browse)
    link = viewing.browser_link(folder, port, browse)
    print_text(f"Serving {folder} on {viewing.address(folder, port, browse)} (Ctrl-C ends it)")
    print_text(f"stac-browser: {link}")
    print_text(f"Look at the days: {viewing.page_address(port, browse)}")
    viewing.serve(folder, port, browse)
