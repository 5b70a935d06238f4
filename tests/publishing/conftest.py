import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.publishing.credentials import HEADER, PASSWORD, TOKEN, TOKEN_COMMAND, USER


@pytest.fixture(scope="package")
def four_days(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated run of four days, 2023-04-01 to 04; not to be changed."""
    query = dataclasses.replace(simulated_query, datetime="2023-04-01/2023-04-04", bands=["B02", "B04"])
    return se.run(query, se.Settings(duration=8), out=tmp_path_factory.mktemp("four") / "days").path


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (TOKEN, TOKEN_COMMAND, USER, PASSWORD, HEADER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("spaceeye_stac.publishing.http_client.FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("spaceeye_stac.publishing.api.FIRST_PAUSE_SECONDS", 0.02)
    return iter(())
