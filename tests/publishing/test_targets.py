from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.digests import document_digest, with_digest
from spaceeye_stac.publishing.placing import static_items, with_extent
from spaceeye_stac.publishing.targets import Target, base_url, target_of, without_query, without_secrets

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "kind", "address", "loopback"),
    [
        ("https://host.example/stac/", "api", "https://host.example/stac", False),
        ("http://127.0.0.1:8000", "api", "http://127.0.0.1:8000", True),
        ("http://localhost:8000/", "api", "http://localhost:8000", True),
        ("http://127.0.0.1.host.example", "api", "http://127.0.0.1.host.example", False),
        ("s3://bucket/a/b", "store", "s3://bucket/a/b", False),
        ("az://container", "store", "az://container", False),
        ("gs://bucket/x", "store", "gs://bucket/x", False),
        ("out/days", "folder", "out/days", True),
        ("file:///srv/my%20days", "folder", "/srv/my days", True),
        (Path("/srv/days"), "folder", "/srv/days", True),
    ],
)
def test_what_a_target_is(text: str | Path, kind: str, address: str, *, loopback: bool) -> None:
    found = target_of(text)
    assert (found.kind, found.address, found.loopback) == (kind, address, loopback)
    assert isinstance(found, Target)


@pytest.mark.parametrize("text", ["host.example/days", "https://me:x@host.example", "https://host.example/?sig=x", ""])
def test_no_public_address(text: str) -> None:
    with pytest.raises(TargetError, match=r"asset_base_url .* is no address without user and query"):
        base_url(text, "asset_base_url")


@given(st.text(alphabet="abcdefgh0123456789", min_size=8, max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_a_secret_of_the_environment_is_never_shown(secret: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOME_SERVICE_TOKEN", secret)
        assert secret not in without_secrets(f"{before} {secret} {after}")


@given(st.text(alphabet="abc?#&=@:/", max_size=20))
def test_a_query_is_never_shown(tail: str) -> None:
    shown = without_query(f"see https://me:pass@host.example/x?sig=hidden{tail} there")
    assert "hidden" not in shown
    assert "pass" not in shown


def test_an_authorization_is_never_shown() -> None:
    assert "abc" not in without_secrets("got Authorization: Bearer abc123 and Basic abc456")
    assert "AKIA" not in without_secrets("AWS4-HMAC-SHA256 Credential=AKIA123/2026, Signature=ffff")
    assert len(without_secrets("x" * 5000)) == 300


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5))
def test_a_digest_is_of_the_content_alone(properties: dict[str, object]) -> None:
    document = {"id": "a", "properties": properties}
    turned = {"properties": dict(reversed(properties.items())), "id": "a"}
    assert document_digest(document) == document_digest(turned)
    signed = with_digest(document)
    assert with_digest(signed) == signed
    assert document_digest({**document, "id": "b"}) != document_digest(document)


def an_item(name: str, day: str, *bbox: float) -> dict[str, object]:
    return {"id": f"c_{name}{day}", "bbox": list(bbox), "properties": {"datetime": f"{day}T00:00:00Z"}, "links": []}


def test_the_extent_of_several_grids_and_over_180_degrees() -> None:
    items = [an_item("a_", "2023-04-01", 179, -17, 179.5, -16), an_item("b_", "2023-04-03", -179.9, -18, -179, -17)]
    extent = with_extent({"id": "c"}, items)["extent"]
    assert extent["spatial"]["bbox"] == [[179, -18, -179, -16], [179, -17, 179.5, -16], [-179.9, -18, -179, -17]]
    assert extent["temporal"]["interval"] == [["2023-04-01T00:00:00Z", "2023-04-03T00:00:00Z"]]
    assert with_extent({"id": "c"}, items[:1])["extent"]["spatial"]["bbox"] == [[179, -17, 179.5, -16]]
    assert with_extent({"id": "c"}, []) == {"id": "c"}


def test_neighbours_are_days_of_the_same_grid() -> None:
    days = ["2023-04-01", "2023-04-02"]
    items = static_items([an_item(tile, day, 3, 50, 4, 51) for day in days for tile in ("a_", "b_")])
    onward = {item["id"]: [k["href"] for k in item["links"] if k["rel"] in {"next", "prev"}] for item in items}
    assert onward["c_a_2023-04-01"] == ["../c_a_2023-04-02/c_a_2023-04-02.json"]
    assert onward["c_b_2023-04-02"] == ["../c_b_2023-04-01/c_b_2023-04-01.json"]
