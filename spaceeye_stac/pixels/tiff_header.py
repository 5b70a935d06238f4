"""The header of a tiled TIFF as async-tiff reads it, told as rasterio tells it; of those alone that both read alike."""

import math
from dataclasses import dataclass
from functools import lru_cache

from async_tiff import TIFF, ImageFileDirectory
from async_tiff.enums import Compression, Endianness, Predictor, SampleFormat
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine

# not ZSTD, of which async-tiff does not check what it decodes: damaged tiles became pixels
COMPRESSIONS = (Compression.Deflate, Compression.OldDeflate, Compression.LZW)
PREDICTORS = (None, Predictor.Unknown, Predictor.Horizontal)
KINDS = {SampleFormat.Uint: "uint", SampleFormat.Int: "int"}
PROJECTED, PIXEL_IS_AREA = 1, 1
USER_DEFINED = 32767
MASK = 4  # bit of the kind of image that says where another one has data
UPRIGHT = 1


@dataclass(frozen=True)
class TiffHeader:
    """What rasterio's dataset says of a file of one band, by the same names."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    dtypes: tuple[str]
    block_shapes: tuple[tuple[int, int]]
    nodata: float | None
    count: int = 1
    colorinterp: tuple[ColorInterp] = (ColorInterp.gray,)
    mask_flag_enums: tuple[tuple[MaskFlags, ...]] = ((),)

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.shape[1]

    @classmethod
    def of(cls, file: TIFF) -> "TiffHeader | None":
        """The header of a file; None where it has anything that GDAL might take otherwise."""
        image, others = file.ifds[0], file.ifds[1:]
        masked = any((other.new_subfile_type or 0) & MASK for other in others)
        place, crs = _transform(image), _crs(image)
        if masked or not _is_plain(image) or place is None or crs is None:
            return None
        bits = image.bits_per_sample[0]
        if bits not in {8, 16} or (bits > 8 and file.endianness != Endianness.LittleEndian):  # noqa: PLR2004
            return None
        return cls(
            crs,
            place,
            (image.image_height, image.image_width),
            (f"{KINDS[image.sample_format[0]]}{bits}",),
            ((image.tile_height or 0, image.tile_width or 0),),
            _nodata(image.gdal_nodata),
        )


def _is_plain(image: ImageFileDirectory) -> bool:
    """Whether an image is one band in tiles, of a compression that both know."""
    return (
        image.tile_offsets is not None
        and image.samples_per_pixel == 1
        and image.compression in COMPRESSIONS
        and image.predictor in PREDICTORS
        and image.sample_format[0] in KINDS
        and (image.orientation or UPRIGHT) == UPRIGHT
    )


def _transform(image: ImageFileDirectory) -> Affine | None:
    """Where the pixels lie, where one corner and a scale say it."""
    scale, corner = image.model_pixel_scale, image.model_tiepoint
    if image.model_transformation is not None or scale is None or corner is None or len(corner) != 6:  # noqa: PLR2004
        return None
    column, row, _, x, y, _ = corner
    return Affine(scale[0], 0.0, x - column * scale[0], 0.0, -scale[1], y + row * scale[1])


def _crs(image: ImageFileDirectory) -> CRS | None:
    """The CRS, where an EPSG code says all of it."""
    keys = image.geo_key_directory
    if keys is None or keys.model_type != PROJECTED or (keys.raster_type or PIXEL_IS_AREA) != PIXEL_IS_AREA:
        return None
    code = keys.projected_type
    return None if code is None or code >= USER_DEFINED or keys.vertical is not None else _known_crs(code)


@lru_cache(maxsize=64)
def _known_crs(code: int) -> CRS:
    return CRS.from_epsg(code)


def _nodata(text: str | None) -> float | None:
    try:
        found = float((text or "").strip("\0 "))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
