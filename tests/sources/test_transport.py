import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pystac
import pytest
from pystac_client.exceptions import APIError

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.sources.transport import PatientFiles, patient, reason
from spaceeye_stac.sources.trust import Trust
from tests.support.failing_api import FlakyApi
from tests.support.loopback import Handler, serving


@dataclass
class KeyKeeper:
    """A server that says where it leads to, and keeps the headers that it was sent."""

    handler: ClassVar[type[Handler]]
    leads_to: str = ""
    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)


class _Keeping(Handler):
    def _get(self) -> None:
        self.served.headers.append(dict(self.headers.items()))
        if self.served.leads_to:
            self.send(302, headers={"Location": self.served.leads_to})
        else:
            self.send(200, b"{}")

    do_GET = _get  # noqa: N815 - http.server's name


KeyKeeper.handler = _Keeping
KEYS = {"Ocp-Apim-Subscription-Key": "secret-1", "X-Api-Key": "secret-2", "Authorization": "Bearer secret-3"}

# what is done at busy, cut and silent servers is tested with a whole search, in test_catalog.py


def refuse(href: str) -> None:
    if "9" in href.partition("//")[2].partition("/")[0].partition(":")[0] or href.startswith("/"):
        raise CatalogError(f"not {href}")


def test_redirects_are_checked_before_they_are_followed() -> None:
    with serving(FlakyApi([], moved={"/a": "/b", "/b": "/collections", "/bad": "http://127.0.0.9:9/x"})) as api:
        assert "collections" in patient(check=refuse).request(f"{api.url}/a")
        with pytest.raises(APIError, match=r"not http://127\.0\.0\.9:9/x") as caught:
            patient(check=refuse).request(f"{api.url}/bad")
        assert isinstance(caught.value.__context__, CatalogError)


@pytest.mark.parametrize("href", ["/etc/hostname", "http://127.0.0.9:9/x"])
def test_what_the_check_refuses_is_not_read(href: str) -> None:
    readers = patient(check=refuse), PatientFiles(refuse)
    for reader in readers:
        with pytest.raises(CatalogError, match="not"):
            reader.read_text(href)


def test_the_collection_of_an_old_item_is_checked_too() -> None:
    """pystac reads it to merge its properties into the item."""
    item = pystac.Item(
        "x",
        None,
        None,
        None,
        {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-01-02T00:00:00Z"},
    ).to_dict()
    item["links"] = [{"rel": "collection", "href": "http://127.0.0.1:9/x"}]
    trust = Trust("https://stac.example.org/catalog.json")
    with pytest.raises(CatalogError, match=r"links to http://127\.0\.0\.1:9/x, which is an address of this machine"):
        PatientFiles(trust.check_link).stac_object_from_dict({**item, "stac_version": "0.8.1"}, trust.root)
    assert PatientFiles(trust.check_link).stac_object_from_dict(item, trust.root).id == "x"


def test_the_collection_of_an_old_item_is_merged_or_missed(tmp_path: Path) -> None:
    """Without it, or with one that is none, the item is as it is; it is asked for once."""
    properties = {"datetime": "2020-01-01T00:00:00Z"}
    item = pystac.Item("x", None, None, datetime(2020, 1, 1, tzinfo=UTC), properties).to_dict()
    old = {**item, "stac_version": "0.8.1", "collection": "c", "links": [{"rel": "collection", "href": "c.json"}]}
    for text, platform in (
        (None, None),
        ("[]", None),
        ("{}", None),
        ('{"id": "c", "properties": {"platform": "S2A"}}', "S2A"),
    ):
        if text is not None:
            (tmp_path / "c.json").write_text(text)
        files = PatientFiles(lambda _: None)
        found = files.stac_object_from_dict(old, str(tmp_path / "x.json"))
        assert found.to_dict(transform_hrefs=False)["properties"].get("platform") == platform
        (tmp_path / "c.json").unlink(missing_ok=True)
        again = files.stac_object_from_dict(old, str(tmp_path / "y.json"))
        assert again.to_dict(transform_hrefs=False)["properties"].get("platform") == platform


def test_requests_are_logged_without_what_is_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pystac_client")
    with serving(FlakyApi([])) as api:
        patient().request(f"{api.url}/collections?token=secret", headers={"Ocp-Apim-Subscription-Key": "secret"})
    assert "/collections" in caplog.text
    assert "secret" not in caplog.text


def test_reasons_tell_no_address() -> None:
    assert reason(OSError("cannot open http://x.org/?sig=secret")) == "OSError cannot open"
    assert reason(ValueError("odd ?sig=secret thing")) == "ValueError odd  thing"
    wrapped = pystac.STACError("HREF: 'http://x.org/?sig=secret'")
    wrapped.__cause__ = APIError("secret")
    assert reason(wrapped) == "NoneType"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_keys_go_to_no_other_host_than_theirs(host: str) -> None:
    with serving(KeyKeeper()) as other, serving(KeyKeeper()) as first:
        first.leads_to = other.url.replace("127.0.0.1", host) + "/there"
        assert patient().request(f"{first.url}/here", headers=dict(KEYS)) == "{}"
    assert all(first.headers[0][name] == value for name, value in KEYS.items())
    assert not [text for text in other.headers[0].values() if "secret" in text]


def test_the_query_of_an_address_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(KeyKeeper()) as api:
        patient().request(f"{api.url}/items?sig=very-secret&limit=2")
    assert "/items" in caplog.text
    assert "very-secret" not in caplog.text
