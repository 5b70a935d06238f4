"""The command line's options, each written once: groups that several commands share, made into what they stand for."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from spaceeye_stac import __version__
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"spaceeye-stac {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
]
Out = Annotated[Path, typer.Option(help="Folder of the new collection.")]
CollectionId = Annotated[str, typer.Option(help="Id of the new collection.")]
Method = Annotated[str, typer.Option(help="surface, damped, reference, or an installed method.")]
Appearance = Annotated[str | None, typer.Option(help="Of surface, on acquisition days: smooth or as_seen.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log a line a stage; twice: a line a file.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Update = Annotated[bool, typer.Option("--update", help="Redo only what new scenes or days touch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
To = Annotated[
    str, typer.Option("--to", help="STAC API (https://...), geocatalog+https://..., s3://, az://, gs://, or a folder.")
]
RunTo = Annotated[str | None, typer.Option("--to", help="Publish there too, day by day: STAC API, store or folder.")]
AssetBaseUrl = Annotated[str | None, typer.Option(help="Public address of the files, for their hrefs.")]
AssetsTo = Annotated[str | None, typer.Option(help="For an API: store or folder to send the files to first.")]
Ingest = Annotated[
    str | None,
    typer.Option(help="A GeoCatalog fetches new items itself: from the catalog or geoparquet at --assets-to."),
]
Wait = Annotated[float | None, typer.Option(help="Seconds for what an API has only accepted; 60, a GeoCatalog 900.")]
TilesUrl = Annotated[str | None, typer.Option(help="Root of a titiler that shows the items as tiles.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove items that the run no longer has.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace another run's collection of this id.")]
Duration = Annotated[str | None, typer.Option(help='Days per window, or "all".')]


def query_from(
    *,
    catalog: Annotated[str, typer.Option(help="Profile name, STAC API or catalog URL, or path.")],
    datetime: Annotated[str, typer.Option(help="A/B, both days included.")],
    bbox: Annotated[str | None, typer.Option(help="W,S,E,N in degrees.")] = None,
    intersects: Annotated[str | None, typer.Option(help="The region as a file, GeoJSON text or WKT.")] = None,
    buffer: Annotated[float | None, typer.Option(help="Metres around intersects, as for a point or line.")] = None,
    collection: Annotated[str | None, typer.Option(help="Collection to search; a profile's when left out.")] = None,
    bands: Annotated[str | None, typer.Option(help="As B02,B03,B04; all 10 and 20 m bands when left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="How the catalog names things; recognised when left out.")] = None,
    max_cloud_cover: Annotated[float | None, typer.Option(help="Leave out scenes with more cloud, in percent.")] = None,
    tiles: Annotated[str | None, typer.Option(help="MGRS tiles to use alone, as 31UDS,31UES.")] = None,
    platforms: Annotated[str | None, typer.Option(help="Satellites to use alone, as S2A.")] = None,
    orbits: Annotated[str | None, typer.Option(help="Relative orbits to use alone, as 51,94.")] = None,
    allow_hrefs: Annotated[str | None, typer.Option(help="Folders, URL prefixes that items may name anyway.")] = None,
    mask: Annotated[str | None, typer.Option(help="Kind of mask: scl, probability or boolean.")] = None,
    mask_asset: Annotated[str | None, typer.Option(help="Key of the asset that is the mask.")] = None,
    mask_clear_values: Annotated[str | None, typer.Option(help="Of a boolean mask, the values that are clear.")] = None,
    mask_collection: Annotated[str | None, typer.Option(help="Collection whose items are the masks.")] = None,
    mask_catalog: Annotated[str | None, typer.Option(help="Where that is; in the catalog when left out.")] = None,
    unmasked: Annotated[str, typer.Option(help="Scenes without a mask: refuse, clear or drop.")] = "refuse",
    exclude: Annotated[str | None, typer.Option(help="Ids of items that are not used, with commas between.")] = None,
    unreadable: Annotated[str, typer.Option(help="Scenes with a file that cannot be opened: refuse, drop.")] = "refuse",
) -> Query:
    """Make a Query of the options that say what to look for."""
    return Query(
        catalog=catalog,
        datetime=datetime,
        bbox=None if bbox is None else cast("list[float]", bbox.split(",")),
        intersects=intersects,
        buffer=buffer,
        collection=collection,
        bands=None if bands is None else [name.strip() for name in bands.split(",")],
        profile=profile,
        max_cloud_cover=max_cloud_cover,
        tiles=tiles,  # text with commas, which Query splits
        platforms=platforms,
        orbits=orbits,  # type: ignore[arg-type]
        allow_hrefs=allow_hrefs,
        mask=mask,
        mask_asset=mask_asset,
        mask_clear_values=mask_clear_values,
        mask_collection=mask_collection,
        mask_catalog=mask_catalog,
        unmasked=unmasked,
        exclude=exclude,
        unreadable=unreadable,
    )


def settings_from(
    *,
    duration: Duration = None,
    time_overlap: Annotated[float, typer.Option(help="Share of a window that overlaps the next.")] = 0.5,
    damping_factor: Annotated[float, typer.Option(help="Weight of the smoothness term.")] = 0.1,
    min_clear_ratio: Annotated[float, typer.Option(help="Days with a smaller clear share take no part.")] = 0.1,
    clear_classes: Annotated[str, typer.Option(help="SCL classes taken as clear.")] = "4,5,6,7",
    max_cloud_probability: Annotated[float, typer.Option(help="Clear up to this, in percent, by probability.")] = 40.0,
    mask_dilation: Annotated[float, typer.Option(help="Metres around clouds that are not clear either.")] = 0.0,
    mask_model: Annotated[str | None, typer.Option(help="Installed model that tells clear pixels from cloud.")] = None,
    mask_model_use: Annotated[str, typer.Option(help="and, or, instead: with the scenes' own masks.")] = "and",
    resampling: Annotated[str, typer.Option(help="nearest, bilinear or cubic, off the grid.")] = "nearest",
    resolution: Annotated[float | None, typer.Option(help="Pixel size in units of the crs.")] = None,
    crs: Annotated[str | None, typer.Option(help="Of the output, as EPSG:32631.")] = None,
    tiling: Annotated[str | None, typer.Option(help="mgrs: a grid and items of its own for each tile.")] = None,
    clip: Annotated[bool, typer.Option("--clip", help="Nodata outside the region's outline.")] = False,
) -> Settings:
    """Make Settings of the options that say how to compute."""
    return Settings(
        duration=days_of(duration),
        time_overlap=time_overlap,
        damping_factor=damping_factor,
        min_clear_ratio=min_clear_ratio,
        clear_classes=[_whole(part, "clear_classes") for part in clear_classes.split(",")],
        max_cloud_probability=max_cloud_probability,
        mask_dilation=mask_dilation,
        mask_model=mask_model,
        mask_model_use=mask_model_use,
        resampling=resampling,
        resolution=resolution,
        crs=crs,
        tiling=cast("Literal['mgrs'] | None", tiling),
        clip=clip,
    )


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{name} {text!r} is no whole number.") from None


def resources_from(
    *,
    memory: Annotated[str | None, typer.Option(help="For all workers, as 2GB; half of what is free.")] = None,
    workers: Annotated[int | None, typer.Option(help="Tasks at once; the number of cores.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="threads, processes, or tcp://... of dask.distributed.")] = None,
    connections: Annotated[int, typer.Option(help="Requests for parts of files in flight at once.")] = 32,
    loader: Annotated[str, typer.Option(help="auto, or stackstac for all files.")] = "auto",
    cache: Annotated[str | None, typer.Option(help="Folder to keep source tiles in for later runs.")] = None,
    cache_size: Annotated[str, typer.Option(help="Source tiles that are kept at most.")] = "8GB",
) -> Resources:
    """Make Resources of the options that say how much to use."""
    return Resources(
        memory=memory,
        workers=workers,
        scheduler=scheduler,
        connections=connections,
        loader=loader,
        cache=cache,
        cache_size=cache_size,
    )


def output_from(
    *,
    compress: Annotated[str, typer.Option(help="deflate or zstd.")] = "deflate",
    level: Annotated[int | None, typer.Option(help="Of the compression; 1 is fastest.")] = None,
    days: Annotated[str, typer.Option(help="files, or virtual: keyframes and VRTs.")] = "files",
    uncertainty: Annotated[str, typer.Option(help="max: one file a day; bands: one of each band, too.")] = "max",
    keep_keyframes: Annotated[bool, typer.Option("--keep-keyframes", help="Leave the keyframe store.")] = False,
) -> Output:
    """Make Output of the options that say how days are written."""
    return Output(compress=compress, level=level, days=days, uncertainty=uncertainty, keep_keyframes=keep_keyframes)


def days_of(duration: str | None) -> int | Literal["all"] | None:
    """Whole days, or "all"; InvalidInputError for anything else."""
    if duration is None or duration == "all":
        return cast("Literal['all'] | None", duration)
    try:
        return int(duration)
    except ValueError:
        raise InvalidInputError(f'duration {duration!r} is not allowed; give whole days, or "all".') from None


_GROUPS: dict[type, Callable[..., Any]] = {
    Query: query_from,
    Settings: settings_from,
    Resources: resources_from,
    Output: output_from,
}


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameters of type Query and Settings by the options of which they are made."""
    own = signature(command).parameters
    groups = {name: _GROUPS[p.annotation] for name, p in own.items() if p.annotation in _GROUPS}

    @wraps(command)
    def call(**arguments: Any) -> None:  # noqa: ANN401 - of any type that an option has
        made = {
            name: make(**{key: arguments.pop(key) for key in signature(make).parameters})
            for name, make in groups.items()
        }
        command(**made, **arguments)

    options: list[Parameter] = []
    for name, parameter in own.items():
        group = signature(groups[name]).parameters.values() if name in groups else [parameter]
        options += [option.replace(kind=Parameter.KEYWORD_ONLY) for option in group]
    call.__signature__ = Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call
