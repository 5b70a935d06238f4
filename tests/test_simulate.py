from dataclasses import replace

import numpy as np

from spaceeye_stac.simulate import Simulation

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
