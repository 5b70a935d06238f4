import numpy as np

from spaceeye_stac.masks import clear_from_labels, observed


def test_only_the_chosen_classes_are_clear_and_nodata_never_is() -> None:
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert np.flatnonzero(clear_from_labels(labels, (4, 5, 6, 7))).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(clear_from_labels(labels, (0, 2, 11))).tolist() == [2, 11]


def test_observed_needs_data_in_every_band() -> None:
    values = np.array([[[5, 0, 3]], [[5, 2, 0]]], np.uint16)
    assert observed(values, 0).tolist() == [[True, False, False]]
