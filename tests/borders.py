"""Simulated tiles on both sides of a border, and the catalogs they make: one ground and sky under all of them."""

from dataclasses import replace

from pyproj import Transformer

from spaceeye_stac.simulate import Simulation

ZONE_BORDER = (6.0, 50.81)
WORLD = Simulation(days=24, revisit=3, cloudiness=0.4, seed=11, world_epsg=32631, bands=("B02", "B03", "B04", "B11"))


def tile_at(
    epsg: int, tile: str, place: tuple[float, float], west: int, east: int, half: int, like: Simulation = WORLD
) -> Simulation:
    """A tile that reaches `west` and `east` pixels, and `half` to the north and south, from a place in degrees."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*place)
    left, top = 20 * round(x / 20) - 10 * west, 20 * round(y / 20) + 10 * half
    return replace(like, epsg=epsg, tile=tile, shape=(2 * half, west + east), origin=(left, top))


def zone_tiles() -> tuple[Simulation, Simulation, Simulation]:
    """Two tiles of zones 31 and 32 that overlap at the border, and one of zone 31 over both."""
    left = tile_at(32631, "31UGS", ZONE_BORDER, 140, 40, 120)
    right = tile_at(32632, "32ULB", ZONE_BORDER, 24, 140, 120)
    return left, right, tile_at(32631, "31UGS", ZONE_BORDER, 160, 160, 130)
