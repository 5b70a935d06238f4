"""A Gaussian process on what a date's looks still deviate by, in one tile of the image; exact, all bands at once.

    k(p, q) = exp(-sqrt(|z_p - z_q|^2 / 4 + |p - q|^2 / 400))        noise 0.05 / trust

z are the leading components of what is expected of a pixel and of the looks around it, p is its place in pixels. The
points it is conditioned on are spread over both, drawn by a fixed shuffle of the places of the grid, those beside the
pixels to be filled first.

Torch tensors in and out, no I/O.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

FEATURE_LENGTH, PIXEL_LENGTH, NOISE = 2.0, 20.0, 0.05
POINTS, FEWEST_POINTS = 320, 20
LEAST_TRUST = 1e-3
BOX, BOXES, BOXED = 0.35, 64, 5  # side of a box, boxes along a coordinate, and coordinates that make them: the last
SHUFFLED = 128
CHUNK = 512


@dataclass(frozen=True)
class Conditioned:
    """The process given some looks: `points` `(point, coordinate)`, `weights` `(point, band)`."""

    points: Tensor
    weights: Tensor

    def at(self, points: Tensor) -> Tensor:
        """Its mean `(pixel, band)` at other points `(pixel, coordinate)`."""
        if not len(self.points):
            return torch.zeros(len(points), self.weights.shape[1])
        return torch.cat([_kernel(part, self.points) @ self.weights for part in torch.split(points, CHUNK)])


def conditioned(points: Tensor, residual: Tensor, trust: Tensor) -> Conditioned:
    """Condition on residuals `(point, band)` at points `(point, coordinate)`, each as noisy as its `trust` is small.

    Fewer than 20 points say nothing.
    """
    if len(points) < FEWEST_POINTS:
        return Conditioned(points[:0], residual[:0])
    gram = _kernel(points, points)
    gram.diagonal().add_(NOISE / trust.clamp(min=LEAST_TRUST))
    return Conditioned(points, torch.cholesky_solve(residual, torch.linalg.cholesky(gram)))


def coordinates(components: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Points `(pixel, component + 2)` of the process from components `(pixel, component)` and places on the image."""
    place = torch.stack([rows, columns], dim=1) / PIXEL_LENGTH
    return torch.cat([components / FEATURE_LENGTH, place], dim=1)


def drawn(points: Tensor, most: int = POINTS) -> Tensor:
    """Indices of the points `(coordinate, point)` to condition on: one of each box of the space, then a second of each.

    Of a box the first in their order is the first that is drawn. Boxes are made of the place and of the leading
    components: so few points lie about as far apart as if each had been sought far from all before it.
    """
    count = len(points)
    place = torch.arange(count)
    if count <= most:
        return place
    box = torch.zeros(count, dtype=torch.long)
    for corner in torch.floor(points[:, -BOXED:].T / BOX).long() % BOXES:
        box = box * BOXES + corner
    together, at = box.sort(stable=True)
    opens = torch.ones(count, dtype=torch.bool)
    opens[1:] = together[1:] != together[:-1]
    earlier = torch.empty_like(place)
    earlier[at] = place - torch.where(opens, place, 0).cummax(0).values
    return (earlier * count + place).topk(most, largest=False, sorted=False).indices.sort().values


def shuffled(shape: torch.Size, top: tuple[int, int]) -> Tensor:
    """Different numbers from 0 to 1 over an image `(y, x)` in a fixed disorder, repeated every 128 rows and columns.

    `top`: row and column of its first pixel on the grid, so that a pixel's number does not depend on how it is cut.
    """
    rows, columns = (torch.arange(start, start + n) % SHUFFLED for start, n in zip(top, shape, strict=True))
    return _shuffle(SHUFFLED)[rows][:, columns]


@cache
def _shuffle(side: int) -> Tensor:
    order = torch.randperm(side * side, generator=torch.Generator().manual_seed(0))
    return order.reshape(side, side).float() / side**2


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    """`(pixel, point)`; squared distances are one product of vectors with their squares beside them."""
    left = torch.cat([one, one.square().sum(1, keepdim=True), torch.ones_like(one[:, :1])], dim=1)
    right = torch.cat([-2 * other, torch.ones_like(other[:, :1]), other.square().sum(1, keepdim=True)], dim=1)
    return (left @ right.T).clamp_(min=0).sqrt_().neg_().exp_()
