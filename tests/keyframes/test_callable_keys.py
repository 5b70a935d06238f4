"""What tells one callable of the settings from another, so that a run does not go on with the cells of another."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.keyframes.fingerprint import settings_record
from spaceeye_stac.settings import name_of
from tests.support.mask_models import Dark, Net, Restless, install


def anything(bands: Any, _metres: float) -> Any:
    return bands[0] >= 0


def nothing(bands: Any, _metres: float) -> Any:
    return bands[0] < 0


def above(_least: int, bands: Any, _metres: float) -> Any:
    return bands[0] > 0


def key_of(model: Any) -> Any:
    return settings_record(se.Settings(mask_model=model))["mask_model"]


def trained() -> Net:
    net = Net()
    with torch.no_grad():
        net.layers[0].weight[0, 0, 0, 0] += 1e-3  # type: ignore[index, operator]
    return net


def versioned(version: str) -> Callable[..., Any]:
    def model(bands: Any, _metres: float) -> Any:
        return bands[0] > 0

    model.version = version  # type: ignore[attr-defined]
    return model


class Wider(Restless):
    halo = 6


class Renamed(Net):
    pass


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Dark("B03", 0.2), Dark("B03", 0.25)),
        (Dark("B03"), Dark("B04")),
        (Net(), trained()),
        (Net(), Renamed()),
        (Restless(), Wider()),
        (anything, nothing),
        (partial(above, 1), partial(above, 2)),
        (versioned("1"), versioned("2")),
        (Dark(), None),
    ],
)
def test_models_are_told_apart_by_their_code_their_attributes_and_their_weights(one: Any, other: Any) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("make", [Dark, Net, Restless, lambda: partial(above, 1), lambda: versioned("1")])
def test_a_model_made_anew_is_the_same(make: Callable[[], Any]) -> None:
    first, second = make(), make()
    if isinstance(second, torch.nn.Module):
        second.eval()
    assert key_of(first) == key_of(second)
    assert key_of(first)[0] == name_of(first)


def test_an_installed_model_is_told_apart_by_the_version_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = install(tmp_path / "packages")
    monkeypatch.syspath_prepend(packages)
    assert key_of("dark") == ["dark", "cloudy-package 1.5"]
    facts = packages / "cloudy_package-1.5.dist-info" / "METADATA"
    facts.write_text(facts.read_text().replace("1.5", "1.6"))
    assert key_of("dark") == ["dark", "cloudy-package 1.6"]
