"""Real servers on loopback: Postgres with pgstac, stac-fastapi, titiler and S3, each stopped by its own id."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.material import ROOT
from tests.support.servers import Process, free_port

CACHE = ROOT / ".e2e"
SERVICES = CACHE / "venv" / "bin"
BROWSER_BUILD = CACHE / "stac-browser"
CHROMIUM = Path("/usr/bin/chromium")
POSTGRES = Path("/usr/lib/postgresql/15/bin")


def need(path: Path, what: str) -> Path:
    """Give the path of something that `.ci/run` installs; where it is missing skip, but fail in CI."""
    if not path.exists():
        _missing(f"{what} is not installed ({path}); .ci/run installs it")
    return path


def need_module(name: str) -> None:
    """Skip, or in CI fail, where a Python package of the extra `e2e` is missing."""
    if find_spec(name) is None:
        _missing(f"{name} is not installed; pip install '.[e2e]'")


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A fresh Postgres 15 with PostGIS and pgstac's schema; gives the PG* environment of its clients."""
    need(POSTGRES / "postgres", "Postgres 15")
    need(Path("/usr/share/postgresql/15/extension/postgis.control"), "PostGIS")
    need(SERVICES / "pypgstac", "pypgstac")
    folder = Path(tempfile.mkdtemp(prefix="spaceeye-postgres-"))
    owner = "postgres" if os.geteuid() == 0 else None  # Postgres refuses to run as root
    if owner:
        shutil.chown(folder, owner)
    port = str(free_port())
    clients = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGPASSWORD": "x"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", "user": owner}
    data = str(folder / "data")
    subprocess.run([POSTGRES / "initdb", "-D", data, "-U", "postgres", "-A", "trust"], check=True, **quiet)  # type: ignore[call-overload]
    quick = [part for name in ("fsync", "synchronous_commit", "full_page_writes") for part in ("-c", f"{name}=off")]
    line = [POSTGRES / "postgres", "-D", data, "-p", port, "-k", str(folder), "-h", "127.0.0.1", *quick]
    server = subprocess.Popen(line, **quiet)  # type: ignore[call-overload]
    try:
        environment = {**os.environ, **clients}
        subprocess.run([SERVICES / "pypgstac", "pgready"], env=environment, check=True, capture_output=True, timeout=60)
        subprocess.run([SERVICES / "pypgstac", "migrate"], env=environment, check=True, capture_output=True, timeout=60)
        yield clients
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder)


def stac_api(clients: Mapping[str, str], log: Path) -> Process:
    """stac-fastapi over pgstac, with the Transaction extension; not yet started."""
    port = free_port()
    names = {
        "PGHOST": "POSTGRES_HOST_READER",
        "PGPORT": "POSTGRES_PORT",
        "PGUSER": "POSTGRES_USER",
        "PGPASSWORD": "POSTGRES_PASS",
        "PGDATABASE": "POSTGRES_DBNAME",
    }
    environment = {
        **clients,
        **{new: clients[old] for old, new in names.items()},
        "POSTGRES_HOST_WRITER": clients["PGHOST"],
        "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE",
        "USE_API_HYDRATE": "TRUE",
        "STAC_FASTAPI_TITLE": "Test API",
        "STAC_FASTAPI_DESCRIPTION": "On loopback.",
        "STAC_FASTAPI_LANDING_ID": "test-api",
    }
    line = [str(SERVICES / "uvicorn"), "stac_fastapi.pgstac.app:create_app", "--factory", "--port", str(port)]
    return Process([*line, "--log-level", "warning"], f"http://127.0.0.1:{port}", "/_mgmt/health", log, environment)


def titiler(log: Path) -> Process:
    """Titiler over any STAC item; not yet started."""
    need(SERVICES / "rio", "titiler")
    port = free_port()
    line = [str(SERVICES / "uvicorn"), "titiler.application.main:app", "--port", str(port), "--log-level", "warning"]
    return Process(line, f"http://127.0.0.1:{port}", "/healthz", log, {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"})


def blob_store(log: Path) -> Process:
    """Azurite, a server of Azure's blobs; not yet started."""
    program = need(CACHE / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js", "Azurite")
    port = free_port()
    line = ["node", str(program), "--blobPort", str(port), "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    return Process(line, f"http://127.0.0.1:{port}", "/", log)


def object_store(log: Path) -> Process:
    """Moto's S3 server; not yet started."""
    need(SERVICES / "moto_server", "moto")
    port = free_port()
    line = [str(SERVICES / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    return Process(line, f"http://127.0.0.1:{port}", "/moto-api/", log)
