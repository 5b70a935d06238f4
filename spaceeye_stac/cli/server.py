"""A published folder over HTTP on this machine alone, with the CORS and Range headers that stac-browser needs.

With a built stac-browser beside it, both stand on one port: the browser at its root, the folder under `DATA`. Only
requests for this machine by its own name and port are answered, so that no page of others can have its name lead here.
"""

import json
from html import escape
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from spaceeye_stac.errors import OutputError
from spaceeye_stac.publishing import media_type_of, without_local_paths

HOST = "127.0.0.1"
BROWSER = "https://radiantearth.github.io/stac-browser/#/external/"
DATA = "/data"
BROWSER_PAGES = ("external", "search", "validation")
NAMES = (HOST, "localhost")
HTTP_PORT = 80
GRACE_SECONDS = 2
PAGE_POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
NOT_SERVED = frozenset({"run.json"})  # what was asked for, with paths of this machine
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


class _OwnHost:
    """Lets only requests through whose Host is this machine by its own name, with the port they came to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_own(scope):
            port = scope["server"][1]
            said = f"This server answers to http://{HOST}:{port}/ and http://localhost:{port}/ alone.\n"
            await PlainTextResponse(said, HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    @staticmethod
    def _is_own(scope: Scope) -> bool:
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        port = scope["server"][1]
        own = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == HTTP_PORT else set())
        return len(hosts) == 1 and hosts[0] in own


class _PublishedFiles(StaticFiles):
    """A published folder: its files with their types, and its documents without paths of this machine."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        name = PurePosixPath(path)
        if name.name in NOT_SERVED or any(part.startswith(".") and part != "." for part in name.parts):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        found = await super().get_response(path, scope)
        media_type = media_type_of(path)
        if media_type is not None and found.status_code in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            found.headers["Content-Type"] = media_type
        return _as_served(Path(self.directory or ""), name, found) if name.suffix == ".json" else found


def _as_served(folder: Path, name: PurePosixPath, found: Response) -> Response:
    """The answer for a document: the file as it is, unless it holds what is of this machine alone."""
    document = _document(folder / name)
    if found.status_code != HTTPStatus.OK or not isinstance(document, dict):
        return found
    safe = without_local_paths(document, name.parent.as_posix())
    if safe == document:
        return found
    return Response(json.dumps(safe, ensure_ascii=False).encode(), media_type=found.headers["Content-Type"])


def _document(path: Path) -> Any:  # noqa: ANN401 - any JSON, or None where it is none
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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
    middleware, files = [Middleware(_OwnHost), cors], _PublishedFiles(directory=folder)

    def page(_request: Request) -> Response:
        return HTMLResponse(days_page(folder), headers=PAGE_POLICY)

    if browser is None:
        return Starlette(routes=[Route("/", page), Mount("/", files)], middleware=middleware)

    def start(request: Request) -> Response:
        return RedirectResponse(f"/external/http:/{request.url.netloc}{DATA}/{document_in(folder)}")

    pages = [
        Route("/", start),
        Route("/favicon.ico", _nothing),
        Mount(DATA, files),
        Mount("/", _BrowserFiles(directory=browser)),
    ]
    return Starlette(routes=pages, middleware=middleware)


def days_page(folder: Path) -> str:
    """A plain page that leads to the collection of a folder and to each of its days."""
    name = document_in(folder)
    document = _document(folder / name)
    known = document if isinstance(document, dict) else {}
    title = escape(str(known.get("title") or known.get("id") or name))
    hrefs = [str(link.get("href")) for link in known.get("links", ()) if link.get("rel") in {"item", "child"}]
    rows = [_row((PurePosixPath(name).parent / href).as_posix()) for href in hrefs if ":" not in href]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:16px/1.5 sans-serif;margin:2em}li{font-family:monospace}</style>"
        f'<h1>{title}</h1><p><a href="{escape(name)}">{escape(name)}</a>, {len(rows)} documents:</p>'
        f"<ul>{''.join(rows)}</ul></html>\n"
    )


def _row(name: str) -> str:
    return f'<li><a href="{escape(name)}">{escape(PurePosixPath(name).stem)}</a></li>'


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

    from spaceeye_stac.cli.connections import BoundedProtocol  # noqa: PLC0415

    document_in(folder)
    config = uvicorn.Config(
        application(folder, browser),
        host=HOST,
        port=port,
        log_level="warning",
        http=BoundedProtocol,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise OutputError(f"Port {port} is taken; choose another with --port.") from error
    server.run(sockets=[socket])
