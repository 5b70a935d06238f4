"""A published folder over HTTP on this machine alone, with the CORS and Range headers that stac-browser needs.

With a built stac-browser beside it, both stand on one port: the browser at its root, the folder under `DATA`.
"""

from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from spaceeye_stac.errors import OutputError

HOST = "127.0.0.1"
BROWSER = "https://radiantearth.github.io/stac-browser/#/external/"
DATA = "/data"
BROWSER_PAGES = ("external", "search", "validation")
DOCUMENTS = ("collection.json", "catalog.json", "days/collection.json")


def document_in(folder: Path) -> str:
    """Return the STAC document to open in a folder, relative to it; OutputError where there is none."""
    found = next((name for name in DOCUMENTS if (folder / name).is_file()), None)
    if found is None:
        raise OutputError(f"Folder {folder} holds no collection.json; name a folder that a run has published.")
    return found


def check_browser(folder: Path) -> None:
    """Raise OutputError unless `folder` holds a built stac-browser."""
    if not (folder / "index.html").is_file():
        raise OutputError(
            f"Folder {folder} holds no built stac-browser (index.html); name the dist that its build made."
        )


class _BrowserFiles(StaticFiles):
    """A built stac-browser: its pages exist only in the browser, so that each of them is its one HTML file."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != HTTPStatus.NOT_FOUND or Path(path).parts[:1] not in {(p,) for p in BROWSER_PAGES}:
                raise
            return await super().get_response("index.html", scope)


def application(folder: Path, browser: Path | None = None) -> Starlette:
    """Return a read-only file server for `folder`, with CORS and HTTP Range, and a stac-browser around it if given."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["*"],
        expose_headers=["Accept-Ranges", "Content-Range", "Content-Length", "ETag"],
    )
    files = StaticFiles(directory=folder)
    if browser is None:
        return Starlette(routes=[Mount("/", files)], middleware=[cors])

    def start(request: Request) -> Response:
        return RedirectResponse(f"/external/http:/{request.url.netloc}{DATA}/{document_in(folder)}")

    pages = [
        Route("/", start),
        Route("/favicon.ico", _nothing),
        Mount(DATA, files),
        Mount("/", _BrowserFiles(directory=browser)),
    ]
    return Starlette(routes=pages, middleware=[cors])


def _nothing(_request: Request) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


def address(folder: Path, port: int, browser: Path | None = None) -> str:
    """Return the address of the folder's STAC document."""
    return f"http://{HOST}:{port}{DATA if browser else ''}/{document_in(folder)}"


def browser_link(folder: Path, port: int, browser: Path | None = None) -> str:
    """Return the address at which stac-browser shows the folder: the one beside it, else the public one."""
    found = address(folder, port, browser)
    return f"{BROWSER}{found}" if browser is None else f"http://{HOST}:{port}/external/{found.replace('//', '/', 1)}"


def serve(folder: Path, port: int, browser: Path | None = None) -> None:
    """Serve `folder`, with a built stac-browser if given, until interrupted; OutputError where the port is taken."""
    import uvicorn  # noqa: PLC0415 - only a running server needs it

    document_in(folder)
    config = uvicorn.Config(application(folder, browser), host=HOST, port=port, log_level="warning")
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise OutputError(f"Port {port} is taken; choose another with --port.") from error
    server.run(sockets=[socket])
