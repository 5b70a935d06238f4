from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.base import CellLooks
from spaceeye_stac.methods.reference import iterate
from spaceeye_stac.methods.registry import method_of
from spaceeye_stac.query import parse_datetime
from spaceeye_stac.settings import METHOD_GROUP


def looks(seed: int = 0) -> CellLooks:
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.uniform(0.05, 0.5, (2, 4, 40, 40)).astype(np.float32))
    clear = torch.from_numpy(rng.random((4, 40, 40)) < 0.7)
    clear[:, 0, 0] = False
    return CellLooks(torch.where(clear, values, 0), clear, (1, 4, 9, 20), range(24))


@pytest.mark.parametrize("name", ["damped", "surface", "reference"])
def test_never_clear_pixels_are_marked_and_no_other(name: str) -> None:
    settings = se.Settings(method=name)
    state = method_of(settings).solve(looks(), settings)
    for image in (state.smooth, state.as_seen if state.as_seen is not None else state.smooth):
        assert image[:, :, 0, 0].isnan().all()
        assert image.isnan().sum() == image.shape[0] * image.shape[1] * int((~looks().clear.any(0)).sum())


def test_surface_shows_its_smooth_state_unless_asked_for_what_was_seen() -> None:
    cell = looks()
    settings = se.Settings(appearance="as_seen")
    seen = method_of(settings).solve(cell, settings)
    assert seen.as_seen is not None
    assert seen.clear.sum() > 0.5 * cell.clear.sum()
    assert torch.equal(seen.as_seen[:, seen.clear], cell.values[:, seen.clear])
    for settings in (se.Settings(), se.Settings(method="surface", appearance="smooth")):
        smooth = method_of(settings).solve(cell, settings)
        assert smooth.as_seen is None
        assert torch.equal(smooth.smooth.nan_to_num(), seen.smooth.nan_to_num())


def test_as_seen_takes_memory_of_its_own() -> None:
    """More than its smooth state; damped, which has no such days, takes the same."""
    smooth, seen = (se.Settings(appearance=appearance) for appearance in ("smooth", "as_seen"))
    needs = method_of(smooth).memory
    assert needs(seen).worked > needs(smooth).worked
    assert needs(seen).around is not None
    assert needs(smooth).around is None
    damped = method_of(se.Settings(method="damped")).memory
    assert damped(smooth) == damped(seen)


def test_the_method_that_was_replaced_is_refused_with_what_replaces_it() -> None:
    said = (
        "method 'guided' is not allowed; method surface with appearance as_seen .--method surface --appearance as_seen"
    )
    with pytest.raises(InvalidInputError, match=said):
        se.Settings(method="guided")


@pytest.mark.parametrize("method", ["damped", "reference", lambda values, _clear, _days: values])
def test_days_as_seen_are_refused_where_a_method_has_none(method: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"appearance 'as_seen' is not allowed; method .* cannot keep looks"):
        se.Settings(method=method, appearance="as_seen")
    assert se.Settings(method=method, appearance="smooth").method == method


def test_reference_gives_every_day_by_its_own_rule() -> None:
    cell = looks()
    settings = se.Settings(method="reference", max_iterations=7)
    state = method_of(settings).solve(cell, settings)
    expected = iterate(cell.values, cell.clear, cell.days, 24, max_iterations=7)
    assert state.days == tuple(range(24))
    assert torch.equal(state.smooth.nan_to_num(), expected.nan_to_num())


class Constant(torch.nn.Module):
    def forward(self, values: Any, _clear: Any, _days: Any) -> Any:
        return torch.full_like(values, 0.25)


def test_a_module_and_a_function_are_methods() -> None:
    for model, name in ((Constant(), "Constant"), (lambda v, _c, _d: v.numpy() * 0 + 0.25, "<lambda>")):
        settings = se.Settings(method=model)
        assert settings.method_name == name
        assert settings.window_days(parse_datetime("2020")) == 48
        state = method_of(settings).solve(looks(), settings)
        assert (state.smooth[:, :, looks().clear.any(0)] == 0.25).all()
        assert state.widths is None


def test_a_method_of_the_wrong_shape_is_named() -> None:
    settings = se.Settings(method=lambda values, _clear, _days: values[:1])
    with pytest.raises(InvalidInputError, match=r"returned shape \(1, 4, 40, 40\) for values of shape \(2, 4"):
        method_of(settings).solve(looks(), settings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda *_looks: None, "returned NoneType; it must return values"),
        (lambda *_looks: "values", "returned str; it must return values"),
        (lambda values, *_rest: values * float("nan"), "returned no finite number, though pixels are clear"),
        (lambda values, *_rest: values + float("inf"), "returned no finite number, though pixels are clear"),
    ],
)
def test_a_model_that_gives_no_values_is_refused(model: Callable[..., object], said: str) -> None:
    settings = se.Settings(method=model)
    with pytest.raises(InvalidInputError, match=said):
        method_of(settings).solve(looks(), settings)


def test_installed_packages_can_add_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("constant", "tests.methods.test_methods:constant", METHOD_GROUP)
    broken = EntryPoint("broken", "no.such:thing", METHOD_GROUP)

    def found(*, group: str, name: str | None = None) -> EntryPoints:
        return EntryPoints([entry, broken]).select(group=group, **({"name": name} if name else {}))  # type: ignore[arg-type]

    monkeypatch.setattr("importlib.metadata.entry_points", found)
    monkeypatch.setattr("spaceeye_stac.methods.registry.entry_points", found)
    settings = se.Settings(method="constant")
    filled = method_of(settings).solve(looks(), settings).smooth
    assert (filled[:, :, looks().clear.any(0)] == 0.25).all()
    with pytest.raises(InvalidInputError, match=r"'broken' .no\.such:thing. cannot be loaded"):
        method_of(se.Settings(method="broken"))


constant = Constant()


def test_own_durations() -> None:
    days = parse_datetime("2020")
    assert se.Settings().window_days(days) == se.Settings(method="surface").window_days(days) == 96
    assert se.Settings(method="damped").window_days(days) == 48
    assert se.Settings(method="reference").window_days(days) == 48
    assert se.Settings(method="surface", duration=30).window_days(days) == 30
