"""A published folder over HTTP on this machine alone, with the CORS and Range headers that stac-browser needs."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from spaceeye_stac.errors import OutputError

HOST = "127.0.0.1"
BROWSER = "https://radiantearth.github.io/stac-browser/#/external/"
DOCUMENTS = ("collection.json", "catalog.json", "days/collection.json")


def document_in(folder: Path) -> str:
    """Return the STAC document to open in a folder, relative to it; OutputError where there is none."""
    found = next((name for name in DOCUMENTS if (folder / name).is_file()), None)
    if found is None:
        raise OutputError(f"Folder {folder} holds no collection.json; name a folder that a run has published.")
    return found


def application(folder: Path) -> Starlette:
    """Return a read-only file server for `folder`, with CORS and HTTP Range."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["*"],
        expose_headers=["Accept-Ranges", "Content-Range", "Content-Length", "ETag"],
    )
    return Starlette(routes=[Mount("/", StaticFiles(directory=folder))], middleware=[cors])


def browser_link(folder: Path, port: int) -> str:
    """Return the address at which stac-browser shows the folder."""
    return f"{BROWSER}http://{HOST}:{port}/{document_in(folder)}"


def serve(folder: Path, port: int) -> None:
    """Serve `folder` until interrupted; OutputError where the port is taken."""
    import uvicorn  # noqa: PLC0415 - only a running server needs it

    document_in(folder)
    config = uvicorn.Config(application(folder), host=HOST, port=port, log_level="warning")
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise OutputError(f"Port {port} is taken; choose another with --port.") from error
    server.run(sockets=[socket])
