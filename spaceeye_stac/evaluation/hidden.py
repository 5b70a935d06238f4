"""Which pixels a case hides."""

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import Bool

KIND_TITLES = {"cloud": "under cloud shapes", "date": "whole dates", "edge": "beside real cloud"}
KINDS = tuple(KIND_TITLES)
TARGET_CLEAR = {"cloud": (0.6, 1.0), "date": (0.6, 1.0), "edge": (0.15, 0.6)}
SHAPE_CLEAR = (0.2, 0.9)
EDGE_SHARE = 1 / 3
EDGE_MOST = 3217
FEWEST_PIXELS = 20


def targets(clear: Bool, kind: str) -> NDArray[np.intp]:
    """Return the indices of the dates whose clear share makes them a target of this kind."""
    low, high = TARGET_CLEAR[kind]
    share = clear.mean(axis=(1, 2))
    return np.flatnonzero((share >= low) & (share <= high))


def hidden_pixels(clear: Bool, target: int, kind: str, seed: int) -> Bool:
    """Return the clear pixels `(y, x)` that a case hides; the same for the same seed, kind and target."""
    rng = np.random.default_rng([seed, KINDS.index(kind), target])
    if kind == "date":
        return np.array(clear[target])
    return _under_cloud(clear, target, rng) if kind == "cloud" else _beside_cloud(clear[target], rng)


def _under_cloud(clear: Bool, target: int, rng: np.random.Generator) -> Bool:
    share = clear.mean(axis=(1, 2))
    others = np.flatnonzero((share >= SHAPE_CLEAR[0]) & (share <= SHAPE_CLEAR[1]) & (np.arange(len(clear)) != target))
    if not len(others):
        return np.zeros_like(clear[target])
    return np.asarray(clear[target] & ~clear[rng.choice(others)])


def _beside_cloud(clear: Bool, rng: np.random.Generator) -> Bool:
    around = np.pad(~clear, 1)
    touched = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
    edge = np.argwhere(clear & touched)
    hidden = np.zeros_like(clear)
    if len(edge):
        pixels = np.argwhere(clear)
        count = min(int(len(pixels) * EDGE_SHARE), EDGE_MOST)
        far = ((pixels - rng.choice(edge)) ** 2).sum(axis=1)
        hole = pixels[np.argsort(far, kind="stable")[:count]]
        hidden[hole[:, 0], hole[:, 1]] = True
    return hidden
