import math
from typing import Any

import numpy as np
import pytest
import spyndex
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import BANDS
from spaceeye_stac.viewing.indices import LETTERS, check_bands, index_of

RNG = np.random.default_rng(3)
SAMPLE = {band: RNG.uniform(0.02, 0.6, (2, 5)) for band in BANDS}
CONSTANTS = {name: spyndex.constants[name].default for name in spyndex.constants}


def known_indices() -> list[str]:
    """Names of the catalogue that need Sentinel-2 alone, and constants that have a default."""
    have = {*LETTERS, *(name for name, default in CONSTANTS.items() if default is not None)}
    kernels = {f"k{a}{b}" for a in "NRGBL" for b in "NRGBL"}
    return [name for name in spyndex.indices if set(spyndex.indices[name].bands) <= have | kernels]


def kernel(name: str, names: dict[str, Any]) -> Any:
    a, b = names[name[1]], names[name[2]]
    return spyndex.computeKernel("RBF", {"a": a, "b": b, "sigma": CONSTANTS["sigma"]})


@pytest.mark.parametrize("name", known_indices())
def test_indices_of_the_catalogue_are_those_of_spyndex(name: str) -> None:
    names = {**{k: v for k, v in CONSTANTS.items() if v is not None}, **{k: SAMPLE[v] for k, v in LETTERS.items()}}
    wanted = {one: kernel(one, names) if one not in names else names[one] for one in spyndex.indices[name].bands}
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(spyndex.computeIndex(name, wanted), (2, 5))
    found = index_of(name)
    values, slopes = found.of({band: SAMPLE[band] for band in found.bands})
    np.testing.assert_allclose(values, np.where(np.isfinite(expected), expected, np.nan), rtol=1e-9)
    for band in found.bands:  # against central differences
        high, low = (found.of({**SAMPLE, band: SAMPLE[band] + step})[0] for step in (1e-6, -1e-6))
        np.testing.assert_allclose(slopes[band], (high - low) / 2e-6, rtol=1e-3, atol=1e-4 * np.nanmax(abs(values)))


def test_there_are_many_indices() -> None:
    assert len(known_indices()) > 150
    assert {"NDVI", "EVI", "EVI2", "SAVI", "NDMI", "NDWI", "NBR", "kNDVI", "MCARI"} <= set(known_indices())


EXPRESSIONS = st.recursive(
    st.one_of(st.sampled_from(["B02", "B04", "B8A"]), st.floats(0.1, 9).map(lambda x: f"{x:.3f}"), st.just("2")),
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from(["+", "-", " * ", "/"]), part).map("({0[0]}{0[1]}{0[2]})".format),
        part.map("(-{})".format),
        part.map("({})**2".format),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_expressions_mean_what_they_mean_in_python(text: str) -> None:
    if "B" not in text:
        text = f"B04*({text})"
    with np.errstate(all="ignore"):
        expected = np.asarray(eval(text, {}, dict(SAMPLE)), float)  # noqa: S307 - of this test's own making
    found = index_of(f" {text} ")
    assert set(found.bands) == {band for band in BANDS if band in text}
    values, _ = found.of({band: SAMPLE[band] for band in found.bands})
    np.testing.assert_allclose(values, np.where(np.isfinite(expected), expected, np.nan), rtol=1e-12)


NEAR_EXPRESSIONS = st.text(alphabet="B0248A.+-*/() e_xjJ'\"[]{}:=,\n", max_size=60)


@given(st.one_of(st.text(), NEAR_EXPRESSIONS, st.lists(EXPRESSIONS).map("".join)))
def test_no_text_gives_anything_but_an_index_or_a_sentence(text: str) -> None:
    try:
        found = index_of(text)
    except InvalidInputError:
        return
    values, slopes = found.of({band: SAMPLE[band] for band in found.bands})
    assert values.shape == (2, 5)
    assert slopes.keys() == set(found.bands) <= set(BANDS)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "B04.real",
        "B04 if B08 else 1",
        "B04 @ B08",
        "B04 // 2",
        "[B04][0]",
        "True*B04",
        "1j*B04",
        "B04+" + "9" * 400,
        "(" * 240 + "B04" + ")" * 240,
        "-" * 300 + "B04",
        "B04+" * 200 + "B04",
        "B04 B08",
        "B04\n+B08)",
        "",
        "lambda: B04",
        "1if B04 else 2",
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        index_of(text)


def test_a_tower_of_powers_is_no_number_and_takes_no_time() -> None:
    values, _ = index_of("B04*9.0**9**9").of({"B04": SAMPLE["B04"]})
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NDVII", "no index 'NDVII'; did you mean NDVI"),
        ("ndvj", "did you mean NDVI"),
        ("B14", "did you mean"),
        ("xyzzyx", "see awesome-ee-spectral-indices"),
        ("B04-NIR", "has 'NIR', which is no band; write B01 ... B12"),
        ("1+2", "has no band in it"),
        ("DpRVIHH", "needs '(HH|HV)', which Sentinel-2"),
        ("NIRvP", "needs 'PAR'"),
    ],
)
def test_what_is_not_known_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        index_of(text)


def test_bands_that_lack_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"Index 'EVI' needs B02, B08, which the run lacks: it has B03, B04;"):
        check_bands(index_of("EVI"), ["B03", "B04"])
    check_bands(index_of("EVI"), BANDS)


def test_a_value_without_a_number_is_nan() -> None:
    bands = {"B04": np.array([[0.0, 0.1, np.nan]]), "B08": np.array([[0.0, 0.3, 0.2]])}
    values, slopes = index_of("NDVI").of(bands)
    np.testing.assert_allclose(values, [[math.nan, 0.5, math.nan]])
    np.testing.assert_allclose(slopes["B04"][0, 1], -2 * 0.3 / 0.4**2)
