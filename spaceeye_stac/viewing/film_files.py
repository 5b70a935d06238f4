"""Frames to a file that moves: mp4 by PyAV, gif and webp by Pillow."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from spaceeye_stac.errors import InvalidInputError, OutputError

CODECS = ("libx264", "libopenh264", "libvpx-vp9", "libaom-av1")  # the first that there is; browsers play all
QUALITY = {"libx264": {"crf": "20", "preset": "medium"}, "libvpx-vp9": {"crf": "30", "b:v": "0"}}
WEBP_QUALITY = 75
PALETTE_FRAMES = 16
COLOURS = 256

Frames = Iterable[Pillow.Image]


def writer_of(path: Path) -> Callable[[Path, Frames, float], None]:
    """What writes a file of this ending; InvalidInputError where nothing does, or what it takes is not installed."""
    writers = {".mp4": write_mp4, ".gif": write_gif, ".webp": write_webp}
    if path.suffix.lower() not in writers:
        raise InvalidInputError(f"A film {path.name!r} cannot be written; name a file of {', '.join(writers)}.")
    if path.suffix.lower() == ".mp4":
        _codec()
    return writers[path.suffix.lower()]


def _codec() -> str:
    """The encoder of the installed build of FFmpeg that browsers play best."""
    try:
        from av import codecs_available  # noqa: PLC0415 - of the extra film
    except ImportError:
        raise InvalidInputError(
            'A film as .mp4 needs PyAV, which is not installed: pip install "spaceeye-stac[film]"; or write .webp.'
        ) from None
    found = next((name for name in CODECS if name in codecs_available), None)
    if found is None:
        raise InvalidInputError(f"The installed PyAV has none of {', '.join(CODECS)}; write the film as .webp.")
    return found


def write_mp4(path: Path, frames: Frames, fps: float) -> None:
    """Write frames of even width and height as they come, as yuv420p; only one stands in memory."""
    import av  # noqa: PLC0415 - of the extra film
    from av.video.stream import VideoStream  # noqa: PLC0415

    codec = _codec()
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
            stream = file.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=QUALITY.get(codec, {}))
            if not isinstance(stream, VideoStream):
                raise TypeError(codec)
            for number, frame in enumerate(frames):
                if number == 0:
                    stream.width, stream.height = frame.size
                    stream.pix_fmt = "yuv420p"
                file.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
            file.mux(stream.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def write_gif(path: Path, frames: Frames, fps: float) -> None:
    """Write frames through one palette for all, so that no colour flickers; all of them stand in memory."""
    whole = list(frames)
    step = max(1, len(whole) // PALETTE_FRAMES)
    sample = np.concatenate([np.asarray(frame)[::2, ::2] for frame in islice(whole, 0, None, step)])
    palette = Pillow.fromarray(sample).quantize(COLOURS)
    flat = [frame.quantize(palette=palette, dither=Pillow.Dither.NONE) for frame in whole]
    _save(path, flat, fps, optimize=False)


def write_webp(path: Path, frames: Frames, fps: float) -> None:
    """Write frames as an animated WebP; all of them stand in memory."""
    _save(path, list(frames), fps, quality=WEBP_QUALITY)


def _save(path: Path, frames: list[Pillow.Image], fps: float, **options: Any) -> None:  # noqa: ANN401 - of Pillow
    try:
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, **options)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Film {path} cannot be written ({error.strerror or error}); choose another place for it.")
