"""A run's folder over HTTP on this machine alone: its page, what the page asks for, and its files for stac-browser.

With a built stac-browser beside it, all stand on one port: the browser at its root, the page at `PAGE`, the folder
under `DATA`, with the CORS and Range headers that stac-browser needs.
"""

from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from spaceeye_stac.errors import OutputError
from spaceeye_stac.viewing.page_api import PageLinks, page_routes
from spaceeye_stac.viewing.served_files import HOST, BrowserFiles, OwnHost, PublishedFiles, document_in

BROWSER = "https://radiantearth.github.io/stac-browser/#/external/"
DATA = "/data"
PAGE = "/view"
GRACE_SECONDS = 2


def application(folder: Path, browser: Path | None = None) -> Starlette:
    """Return a read-only server for `folder`, with CORS and HTTP Range, and a stac-browser around it if given."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["*"],
        expose_headers=["Accept-Ranges", "Content-Range", "Content-Length", "ETag"],
    )
    middleware, files = [Middleware(OwnHost), cors], PublishedFiles(directory=folder)
    if browser is None:
        links = PageLinks("/", BROWSER)
        return Starlette(routes=[*page_routes(folder, "/", links), Mount("/", files)], middleware=middleware)

    def start(request: Request) -> Response:
        return RedirectResponse(f"/external/http:/{request.url.netloc}{DATA}/{document_in(folder)}")

    pages = [
        Route("/", start),
        Route("/favicon.ico", _nothing),
        *page_routes(folder, PAGE, PageLinks(f"{DATA}/", "/external/")),
        Mount(DATA, files),
        Mount("/", BrowserFiles(directory=browser)),
    ]
    return Starlette(routes=pages, middleware=middleware)


def _nothing(_request: Request) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


def address(folder: Path, port: int, browser: Path | None = None) -> str:
    """Return the address of the folder's STAC document."""
    return f"http://{HOST}:{port}{DATA if browser else ''}/{document_in(folder)}"


def page_address(port: int, browser: Path | None = None) -> str:
    """Return the address of the page of the days."""
    return f"http://{HOST}:{port}{PAGE if browser else '/'}"


def browser_link(folder: Path, port: int, browser: Path | None = None) -> str:
    """Return the address at which stac-browser shows the folder: the one beside it, else the public one."""
    found = address(folder, port, browser)
    return f"{BROWSER}{found}" if browser is None else f"http://{HOST}:{port}/external/{found.replace('//', '/', 1)}"


def serve(folder: Path, port: int, browser: Path | None = None) -> None:
    """Serve `folder`, with a built stac-browser if given, until interrupted; OutputError where the port is taken."""
    import uvicorn  # noqa: PLC0415 - only a running server needs it

    from spaceeye_stac.viewing.connections import BoundedProtocol  # noqa: PLC0415

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
