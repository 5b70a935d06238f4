"""What is served as it lies there: the files of a published folder, and those of a stac-browser.

Only requests for this machine by its own name and port are answered, so that no page of others can have its name lead
here.
"""

import json
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from spaceeye_stac.errors import OutputError
from spaceeye_stac.publishing import media_type_of, without_local_paths

HOST = "127.0.0.1"
BROWSER_PAGES = ("external", "search", "validation")
NAMES = (HOST, "localhost")
HTTP_PORT = 80
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


class OwnHost:
    """Lets only requests through whose Host is this machine by its own name, with the port they came to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on with a request for this machine; answer any other with the names that are answered."""
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


class PublishedFiles(StaticFiles):
    """A published folder: its files with their types, and its documents without paths of this machine."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file of a path, if it is one to be served."""
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
    document = read_document(folder / name)
    if found.status_code != HTTPStatus.OK or not isinstance(document, dict):
        return found
    safe = without_local_paths(document, name.parent.as_posix())
    if safe == document:
        return found
    return Response(json.dumps(safe, ensure_ascii=False).encode(), media_type=found.headers["Content-Type"])


def read_document(path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return what a document holds; None where it is no JSON or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class BrowserFiles(StaticFiles):
    """A built stac-browser: its pages exist only in the browser, so that each of them is its one HTML file."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file of a path, or the one HTML file."""
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != HTTPStatus.NOT_FOUND or Path(path).parts[:1] not in {(p,) for p in BROWSER_PAGES}:
                raise
            return await super().get_response("index.html", scope)
