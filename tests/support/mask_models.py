"""Models that tell clear pixels from cloud, and a package that names one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Bands = NDArray[np.float32]
PACKAGE = """
class Dark:
    bands = ("B03",)
    halo = 3

    def __call__(self, bands, resolution):
        return bands[0] < 0.2

dark = Dark()
number = 7
"""
ENTRIES = """[spaceeye_stac.masks]
dark = cloudy_package:dark
lost = cloudy_package:nothing
gone = no_such_package:model
number = cloudy_package:number
"""


class Dark:
    """Clear where a band is below a threshold."""

    halo = 0

    def __init__(self, band: str = "B03", most: float = 0.2) -> None:
        self.bands, self.most = (band,), most

    def __call__(self, bands: Bands, _resolution: float) -> NDArray[np.bool_]:
        return np.asarray(bands[0] < self.most)


class Restless:
    """Depends on all that it sees, and on where in it a pixel is: what a fixed square alone makes the same twice."""

    bands, halo, side = ("B03", "B8A"), 5, 48

    def __call__(self, bands: Bands, resolution: float) -> Bands:
        height, width = bands.shape[1:]
        y, x = np.mgrid[:height, :width] / np.float32(resolution)
        wave = np.sin(y * 3 + x * 5 + bands.mean() * 1e3 + height + 2 * width)
        return np.asarray((wave + 1) / 2, np.float32)


class Net(torch.nn.Module):
    """Two convolutions of fixed weights, and a probability of cloud."""

    bands, halo, side = ("B02", "B04"), 4, 64

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(2, 8, 5, padding="same"),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.5),
                torch.nn.Conv2d(8, 1, 5, padding="same"),
            )

    def forward(self, bands: torch.Tensor, _resolution: float) -> torch.Tensor:
        found: torch.Tensor = torch.sigmoid(40 * self.layers(bands[None])[0, 0])
        return found


def install(folder: Path) -> Path:
    """Put a package with models into a folder, as pip would; gives the folder, which has to be on the path."""
    facts = folder / "cloudy_package-1.5.dist-info"
    facts.mkdir(parents=True)
    (folder / "cloudy_package.py").write_text(PACKAGE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: cloudy-package\nVersion: 1.5\n")
    (facts / "entry_points.txt").write_text(ENTRIES)
    return folder


def never(*_asked: Any) -> Any:
    raise AssertionError("it should not have been asked")
