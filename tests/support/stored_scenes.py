"""Scenes whose files stand in a store, and how they are read."""

from collections.abc import Callable
from dataclasses import replace

from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.loader import Stacked, load
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.items import labels_of


def moved(scene: Scene, address: Callable[[str], str]) -> Scene:
    """The scene with every asset at the address that is given for its href."""
    bands = {name: replace(asset, href=address(asset.href)) for name, asset in scene.bands.items()}
    return replace(scene, bands=bands, labels=replace(labels_of(scene), href=address(labels_of(scene).href)))


def read(scenes: list[Scene], simulation: Simulation) -> Stacked:
    """All of their pixels on the simulation's grid."""
    return load(scenes, simulation.geobox, resampling=dict.fromkeys(scenes[0].bands, "nearest"), sign=signed)
