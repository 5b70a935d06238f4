"""Plug a model of your own into the line: own_model.py CATALOG W,S,E,N START/END FOLDER.

A method is any callable `(values, clear, days) -> values`: reflectance `(band, time, y, x)` with 0 where not clear, the
clear looks `(time, y, x)` and the acquisition days `(time,)`, all torch tensors; it returns values of the same shape.
This small torch module smooths each pixel over the days with a kernel whose width would be learnt; a trained network
plugs in the same way. An installed package can name its method in the entry-point group `spaceeye_stac.methods`.
"""

import sys

import torch
from torch import Tensor, nn

import spaceeye_stac as se


class KernelSmoother(nn.Module):
    """Mean of the clear looks of a pixel, weighted by exp(-(days apart / width)^2)."""

    def __init__(self, width: float = 8.0) -> None:
        super().__init__()
        self.width = nn.Parameter(torch.tensor(width))

    def forward(self, values: Tensor, clear: Tensor, days: Tensor) -> Tensor:
        """Fill the acquisition days; what is clear stays as it is."""
        apart = (days[:, None] - days).float() / self.width
        weight = torch.exp(-(apart**2)) + 1e-6
        looks = clear.float()
        total = torch.einsum("tu,uyx->tyx", weight, looks)
        smooth = torch.einsum("tu,buyx->btyx", weight, values * looks) / total.clamp(min=1e-6)
        return torch.where(clear, values, smooth)


if __name__ == "__main__":
    catalog, bbox, when, out = sys.argv[1:5]
    query = se.Query(catalog=catalog, bbox=[float(v) for v in bbox.split(",")], datetime=when)
    model = KernelSmoother()
    result = se.run(query, se.Settings(method=model, collection_id="kernel"), out=out)
    print(f"{len(result.days)} days in {result.path}")

    scenes = se.search(query)
    found = se.evaluate(scenes, query, methods=["linear", model, "surface"], limit=4).as_json()
    for name, row in found["cloud"].items():
        print(f"{name:15} {row['psnr']:.1f} dB under cloud shapes, {row['n_dates']} dates")
