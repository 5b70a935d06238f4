"""Smooth random fields; pure."""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 64


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> NDArray[np.float32]:
    """White noise under a Gaussian of `sigma` pixels `(y, x)` float32, of mean 0 and deviation 1.

    It goes on beyond its ends on the other side. A shape below 64 pixels is a part of a field of 64, so that it varies
    no more than a larger one does.
    """
    height, width = (max(side, SMALLEST) for side in shape)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) * kernel, (height, width))
    field = (field - field.mean()) / field.std()
    return np.asarray(field[: shape[0], : shape[1]], np.float32)
