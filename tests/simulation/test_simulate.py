from dataclasses import replace

import numpy as np
from rasterio.warp import Resampling, reproject

from spaceeye_stac.simulation.landscape import Simulation

SMALL = Simulation(shape=(64, 80), days=20, revisit=2)


def test_everything_follows_from_the_seed() -> None:
    for one, other in zip(SMALL.scene(4), replace(SMALL).scene(4), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (SMALL.scene(4)[0] != replace(SMALL, seed=8).scene(4)[0]).any()


def test_scenes_are_the_truth_where_nothing_is_in_the_way() -> None:
    for day in SMALL.visits:
        values, labels = SMALL.scene(day)
        opacity, shadow = SMALL.cloud(day)
        free = (opacity == 0) & (shadow == 0)
        if not free.any():
            continue
        truth = SMALL.truth(day)[:, free]
        assert np.abs(values[:, free] * 1e-4 / (truth + 0.01) - 1).mean() < 0.2
        assert labels.shape == (32, 40)


def test_labels_find_clouds_but_not_without_error() -> None:
    cloudy, called = [], []
    for day in SMALL.visits:
        cloudy.append(SMALL.cloud(day)[0][::2, ::2])
        called.append(SMALL.scene(day)[1])
    thick, labels = np.stack(cloudy) > 0.9, np.stack(called)
    assert np.isin(labels[thick], [8, 9]).mean() > 0.98
    clear = np.stack(cloudy) == 0
    assert 0.5 < np.isin(labels[clear], [4, 5, 6]).mean() < 1


def test_neighbours_continue_each_other() -> None:
    """The landscape is a function of map coordinates; only fine texture differs from tile to tile."""
    left, top = SMALL.origin
    right = replace(SMALL, origin=(left + 10 * 40, top))
    np.testing.assert_array_equal(SMALL._cover[:, 40:], right._cover[:, :40])  # noqa: SLF001


def test_one_world_is_the_same_in_every_zone() -> None:
    """Sampled by rasterio from one zone's tile into the other's, ground, cloud and shadow agree but at their edges."""
    west = replace(SMALL, world_epsg=32631, origin=(711_000, 5_633_000), shape=(120, 120))
    east = replace(west, epsg=32632, tile="32ULB", origin=(288_600, 5_632_800), shape=(64, 64))
    for day in (0, 6):
        pairs = [(west.truth(day)[2], east.truth(day)[2])]
        pairs += list(zip(west.cloud(day), east.cloud(day), strict=True))
        for there, here in pairs:
            seen = np.full(here.shape, np.nan, np.float32)
            zones = {"src_crs": 32631, "dst_crs": 32632, "src_nodata": np.nan, "dst_nodata": np.nan}
            moved = {"src_transform": west.geobox.transform, "dst_transform": east.geobox.transform}
            reproject(there.astype(np.float32), seen, resampling=Resampling.nearest, **zones, **moved)
            off = np.abs(seen - here)[np.isfinite(seen)]
            assert off.size > 3000
            assert np.median(off) < 0.005
            assert np.quantile(off, 0.9) < 0.2
