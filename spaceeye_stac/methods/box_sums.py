"""Sums over centred boxes of images, with the same bits wherever an image is cut above and below."""

from collections.abc import Sequence

import torch
from torch import Tensor


def box_sums(images: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Sums `(..., y, x)` over boxes of each of the odd `sizes`, ascending, zeros outside the images.

    Every sum is built of sums of 1, 2, 4 ... pixels in the same order, so that its bits do not depend on how many rows
    are around.
    """
    along = _doubled(images, sizes, -1)
    wide = [_along(along, size, -1, images.shape[-1]) for size in sizes]
    return [
        _along(_doubled(one, [size], -2), size, -2, images.shape[-2]) for one, size in zip(wide, sizes, strict=True)
    ]


def _doubled(images: Tensor, sizes: Sequence[int], axis: int) -> tuple[int, list[Tensor]]:
    """Pad for the largest size; sums of 1, 2, 4 ... consecutive pixels of that, each from its first."""
    half = max(sizes) // 2
    padding = (half, half) if axis == -1 else (0, 0, half, half)
    powers = [torch.nn.functional.pad(images, padding)]
    while 2 ** len(powers) <= max(sizes):
        step, last = 2 ** (len(powers) - 1), powers[-1]
        count = last.shape[axis] - step
        powers.append(last.narrow(axis, 0, count) + last.narrow(axis, step, count))
    return half, powers


def _along(doubled: tuple[int, list[Tensor]], size: int, axis: int, count: int) -> Tensor:
    """Sums of `size` consecutive pixels centred on each, from the doubled sums."""
    half, powers = doubled
    place = half - size // 2
    out = powers[0].narrow(axis, place, count)
    place += 1
    for bit, power in enumerate(powers[1:], start=1):
        if size & 2**bit:
            out = out + power.narrow(axis, place, count)
            place += 2**bit
    return out
