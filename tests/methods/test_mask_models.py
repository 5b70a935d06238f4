"""What a mask model says, and how one that makes no sense is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.mask_models import MaskModel, mask_model_of
from spaceeye_stac.model import CLEAR, CLOUD, UNKNOWN
from tests.support.mask_models import Dark, Net, install, never

BANDS = np.array([[[0.1, 0.3, 0.0], [0.2, 0.1, 0.4]], [[0.1, 0.3, 0.2], [0.2, 0.0, 0.4]]], np.float32)
KNOWN = [[True, True, False], [True, False, True]]


def model_of(model: Any, **options: Any) -> MaskModel:
    found = mask_model_of(se.Settings(mask_model=model, **options))
    assert found is not None
    return found


def test_without_a_model_there_is_none() -> None:
    assert mask_model_of(se.Settings()) is None


def test_a_clear_mask_counts_where_every_band_has_data() -> None:
    said = model_of(lambda bands, _metres: bands[0] < 0.25).verdicts(BANDS, 10.0)
    assert said.tolist() == [[CLEAR, CLOUD, UNKNOWN], [CLEAR, UNKNOWN, CLOUD]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("most", "clear"), [(40.0, [0.0, 0.3, 0.4]), (30.0, [0.0, 0.3]), (0.0, [0.0])])
def test_a_probability_is_clear_up_to_the_threshold(most: float, clear: list[float], dtype: Any) -> None:
    values = [0.0, 0.3, 0.4, 0.41, 1.0]
    bands = np.ones((1, 1, len(values)), np.float32)
    model = model_of(lambda *_asked: np.array([values], dtype), max_cloud_probability=most)
    assert [v for v, said in zip(values, model.verdicts(bands, 10.0)[0], strict=True) if said == CLEAR] == clear


def test_it_is_given_reflectance_and_metres_and_is_not_asked_of_nothing() -> None:
    seen: list[Any] = []

    def model(*asked: Any) -> Any:
        seen.extend(asked)
        return asked[0][0] > 1

    model_of(model).verdicts(BANDS.copy(), 20.0)
    np.testing.assert_array_equal(seen[0], BANDS)
    assert seen[1] == 20.0
    assert (model_of(never).verdicts(np.zeros((2, 3, 3), np.float32), 10.0) == UNKNOWN).all()


def test_what_a_model_does_to_its_bands_changes_nothing_else() -> None:
    def model(bands: Any, _metres: float) -> Any:
        clear = bands[0] < 0.25
        bands[:] = 0
        return clear

    assert (model_of(model).verdicts(BANDS.copy(), 10.0) != UNKNOWN).tolist() == KNOWN


def test_a_module_is_given_a_tensor_to_evaluate_and_not_to_learn() -> None:
    net = Net().train()
    bands = np.random.default_rng(0).uniform(0.01, 0.5, (2, 30, 20)).astype(np.float32)
    said = model_of(net).verdicts(bands, 10.0)
    assert not net.training
    with torch.no_grad():
        expected = net(torch.from_numpy(bands), 10.0).numpy() <= 0.4
    np.testing.assert_array_equal(said == CLEAR, expected)
    assert 0.05 < expected.mean() < 0.95
    assert model_of(torch.nn.Sequential()).halo == 64


class Half(torch.nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, bands: torch.Tensor, _resolution: float) -> torch.Tensor:
        return (bands[0] < 0.25) if self.dtype == torch.bool else bands[0].to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float64])
def test_tensors_of_any_kind_are_taken(dtype: torch.dtype) -> None:
    said = model_of(Half(dtype), max_cloud_probability=25).verdicts(BANDS, 10.0)
    assert said.tolist() == [[CLEAR, CLOUD, UNKNOWN], [CLEAR, UNKNOWN, CLOUD]]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda _b: None,
            r"returned NoneType; it must return a clear mask \(bool\) or a probability of cloud \(float\)",
        ),
        (lambda _b: "clear", "returned str; it must return a clear mask"),
        (lambda _b: [[1], [2, 3]], "returned list; it must return a clear mask"),
        (lambda b: (b[0] > 0).astype(np.uint8), "returned uint8; it must return a clear mask"),
        (lambda b: b > 0, r"returned shape \(2, 2, 3\); it must return \(y, x\) of its bands, \(2, 3\)"),
        (lambda _b: np.zeros((3, 2)), r"returned shape \(3, 2\); it must return"),
        (lambda b: np.where(b[0] > 0.25, np.nan, b[0]), "returned no finite number at 2 pixels with data; it must"),
        (lambda b: b[0] * np.inf, "returned no finite number at 4 pixels with data"),
        (lambda b: b[0] * 100, "returned 10 to 40; a probability is from 0 to 1, so divide percent by 100"),
        (lambda b: b[0] - 0.5, "returned -0.4 to -0.1; a probability is from 0 to 1"),
        (lambda _b: 1 / 0, r"failed on bands of shape \(2, 2, 3\) \(ZeroDivisionError: division by zero\); mend it"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_sentence(made: Callable[[Any], object], said: str) -> None:
    def cloudy(bands: Any, _metres: float) -> object:
        with np.errstate(invalid="ignore"):
            return made(bands)

    with pytest.raises(InvalidInputError, match=f"^mask_model cloudy {said}.*[.]$"):
        model_of(cloudy).verdicts(BANDS.copy(), 10.0)


def test_what_is_said_where_there_is_no_data_does_not_matter() -> None:
    def model(bands: Any, _metres: float) -> object:
        return np.where((bands == 0).any(axis=0), np.nan, 1 + 1e-4)

    assert (model_of(model).verdicts(BANDS, 10.0) == CLOUD).tolist() == KNOWN


def test_memory_that_is_used_up_is_not_the_fault_of_the_model() -> None:
    def model(*_asked: object) -> object:
        raise MemoryError

    with pytest.raises(MemoryError):
        model_of(model).verdicts(BANDS, 10.0)


def test_attributes_say_what_a_model_wants() -> None:
    usual, net = model_of(lambda bands, _metres: bands[0] > 0), model_of(Net())
    assert (usual.bands, usual.halo, usual.side, usual.coarsest) == (None, 64, 512, None)
    assert (net.bands, net.halo, net.side) == (("B02", "B04"), 4, 64)
    assert model_of(Dark("B8A")).bands == ("B8A",)
    text = Dark()
    text.bands = "B02,B11"  # type: ignore[assignment]
    assert model_of(text).bands == ("B02", "B11")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("bands", ("red",), r"has bands \('red',\); let it name each once, from B01, B02"),
        ("bands", ("B02", "B02"), ".*let it name each once"),
        ("bands", (), ".*let it name each once"),
        ("bands", 3, "has bands 3; let it name each once"),
        ("halo", -1, "has halo -1; give whole pixels from 0 to 1024"),
        ("halo", 2.5, "has halo 2.5; give whole pixels"),
        ("side", 5000, "has side 5000; give whole pixels from 16 to 4096"),
        ("coarsest", 0, "has coarsest 0; give metres, above 0"),
        ("coarsest", "10 m", "has coarsest '10 m'; give metres"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(attribute: str, value: object, said: str) -> None:
    model = Dark()
    setattr(model, attribute, value)
    with pytest.raises(InvalidInputError, match=f"^mask_model Dark {said}.*[.]$"):
        model_of(model)


def test_installed_packages_can_add_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^mask_model 'dark' is not allowed; no installed package names any, or"
    ):
        se.Settings(mask_model="dark")
    monkeypatch.syspath_prepend(install(tmp_path / "packages"))
    found = model_of("dark")
    assert (found.name, found.bands, found.halo) == ("dark", ("B03",), 3)
    assert found.verdicts(BANDS[:1], 10.0)[0].tolist() == [CLEAR, CLOUD, UNKNOWN]
    with pytest.raises(
        InvalidInputError, match=r"^mask_model 'lost' .cloudy_package:nothing. cannot be loaded: .*[.]$"
    ):
        model_of("lost")
    with pytest.raises(
        InvalidInputError, match=r"^mask_model 'gone' .no_such_package:model. cannot be loaded: No modul"
    ):
        model_of("gone")
    with pytest.raises(InvalidInputError, match=r"^mask_model 'number' .* is int, and no callable[.]$"):
        model_of("number")
    with pytest.raises(
        InvalidInputError, match=r"^mask_model 'light' is not allowed; choose from dark, gone, lost, num"
    ):
        se.Settings(mask_model="light")


@pytest.mark.parametrize("value", [7, "", ["dark"]])
def test_what_is_no_model_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"mask_model .* is not allowed; .*bring a callable"):
        se.Settings(mask_model=value)


def test_how_a_model_is_used_is_one_of_three() -> None:
    assert se.Settings(mask_model=Dark(), mask_model_use="or").mask_model_use == "or"
    with pytest.raises(InvalidInputError, match="mask_model_use 'xor' is not allowed; choose from and, or, instead"):
        se.Settings(mask_model_use="xor")
