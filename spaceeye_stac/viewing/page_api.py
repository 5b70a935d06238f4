"""What the page of the server asks for: its own files, the days, pictures, map tiles and series of a point.

Every parameter is checked, no path or address comes from a request, and what is answered names no path of this machine.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from html import escape
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path, PurePosixPath

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from spaceeye_stac.errors import InvalidInputError, SpaceEyeError
from spaceeye_stac.query import Json
from spaceeye_stac.viewing.indices import index_of
from spaceeye_stac.viewing.page_days import PageDay, RunPage, run_page
from spaceeye_stac.viewing.page_pictures import (
    DEEPEST_ZOOM,
    INSTALL,
    LARGEST,
    PicturePlace,
    Pictures,
    can_draw,
    legend,
    load_rio_tiler,
    picture_tag,
)
from spaceeye_stac.viewing.page_points import PointSeries, point_series
from spaceeye_stac.viewing.page_views import View, bands_of, offered, view_of
from spaceeye_stac.viewing.served_files import document_in

OWN_FILES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
USUAL_WIDTH = 1024
SERIES_BANDS = "bands"
Endpoint = Callable[[Request], Response]


@dataclass(frozen=True)
class PageLinks:
    """Where the folder's files begin, and where stac-browser is."""

    files: str
    browser: str


def page_routes(folder: Path, root: str, links: PageLinks) -> list[BaseRoute]:
    """The page at `root` and what it asks for."""
    page = _Page(folder, links)
    return [
        Route(root, page.html),
        Route("/page/{name}", page.own_file),
        Route("/api/days", page.days),
        Route("/api/legend", page.legend),
        Route("/api/preview/{item}.png", page.preview),
        Route("/api/tiles/{item}/{z}/{x}/{y}.png", page.tile),
        Route("/api/point", page.point),
        Route("/api/point.csv", page.point_csv),
    ]


def _in_words(endpoint: Callable[["_Page", Request], Response]) -> Callable[["_Page", Request], Response]:
    """What is wrong with a request as one sentence: the user's to mend 400, a damaged file 500 without its path."""

    @wraps(endpoint)
    def answered(page: "_Page", request: Request) -> Response:
        try:
            return endpoint(page, request)
        except InvalidInputError as error:
            return _said(HTTPStatus.BAD_REQUEST, str(error))
        except HTTPException as error:
            return _said(HTTPStatus(error.status_code), error.detail)
        except SpaceEyeError:
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "A file of the run is missing or damaged; run again.")

    return answered


def _said(status: HTTPStatus, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status, headers=SAFE)


class _Page:
    """Endpoints over one folder; they are plain functions, which Starlette runs in threads."""

    def __init__(self, folder: Path, links: PageLinks) -> None:
        self._folder, self._links, self._pictures = folder, links, Pictures()
        self._known: tuple[int, RunPage] | None = None

    def _run(self) -> RunPage:
        """The run as it is now: read again when its collection was written again."""
        stamp = (self._folder / document_in(self._folder)).stat().st_mtime_ns
        if self._known is None or self._known[0] != stamp:
            self._known = stamp, run_page(self._folder)
        return self._known[1]

    @_in_words
    def html(self, _request: Request) -> Response:
        """The page; where no script runs, the list of the documents."""
        run, base = self._run(), self._links.files
        rows = [f'<li><a href="{escape(base + name)}">{escape(PurePosixPath(name).stem)}</a>' for name in run.documents]
        kept = {
            "{{title}}": escape(run.title),
            "{{document}}": escape(base + run.document),
            "{{count}}": str(len(rows)),
            "{{rows}}": "\n".join(rows),
        }
        text = (files(__package__) / "page" / "index.html").read_text(encoding="utf-8")
        for mark, value in kept.items():
            text = text.replace(mark, value)
        headers = {**SAFE, "Content-Security-Policy": POLICY}
        return Response(text, media_type="text/html", headers=headers, background=BackgroundTask(load_rio_tiler))

    def own_file(self, request: Request) -> Response:
        """A style or script of the page."""
        name = PurePosixPath(request.path_params["name"])
        folder = files(__package__) / "page"
        if name.suffix not in OWN_FILES or name.name not in {one.name for one in folder.iterdir()}:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        headers = {**SAFE, "Cache-Control": "no-cache"}
        return Response((folder / name.name).read_bytes(), media_type=OWN_FILES[name.suffix], headers=headers)

    @_in_words
    def days(self, _request: Request) -> Response:
        """All that the page needs to know of the run."""
        run, base = self._run(), self._links.files
        ready = can_draw() and bool(run.days)
        found: Json = {
            "title": run.title,
            "id": run.id,
            "document": run.document,
            "files": base,
            "browser": self._links.browser,
            "report": run.report,
            "tiles": list(run.tiles),
            "bands": list(run.bands),
            "views": offered(run) if ready else [],
            "sentence": "" if ready else INSTALL,
            "days": [one.described() for one in run.days],
            "documents": [] if run.days else list(run.documents),
        }
        return JSONResponse(found, headers={**SAFE, "Cache-Control": "no-cache"})

    @_in_words
    def legend(self, request: Request) -> Response:
        """How the colours of a view are read; null of a picture."""
        run = self._run()
        if not run.days:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There are no days here.")
        _check_ready()
        return JSONResponse(legend(view_of(run.days[0], request.query_params)), headers=SAFE)

    @_in_words
    def preview(self, request: Request) -> Response:
        """A day in its own grid."""
        day = self._day(request)
        place = PicturePlace(_whole(request.query_params, "width", USUAL_WIDTH, (1, LARGEST)))
        return self._drawn(request, day, place)

    @_in_words
    def tile(self, request: Request) -> Response:
        """A tile of the usual web map."""
        day, numbers = self._day(request), request.path_params
        z = _whole(numbers, "z", 0, (0, DEEPEST_ZOOM))
        x, y = (_whole(numbers, name, 0, (0, 2**z - 1)) for name in ("x", "y"))
        return self._drawn(request, day, PicturePlace(tile=(z, x, y)))

    def _day(self, request: Request) -> PageDay:
        found = self._run().by_id.get(request.path_params["item"])
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such day.")
        return found

    def _drawn(self, request: Request, day: PageDay, place: PicturePlace) -> Response:
        _check_ready()
        view: View = view_of(day, request.query_params)
        tag = f'"{picture_tag(day, view, place)}"'
        headers = {**SAFE, "ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self._pictures.draw(day, view, place), media_type="image/png", headers=headers)

    @_in_words
    def point(self, request: Request) -> Response:
        """One pixel of every day."""
        return JSONResponse(self._series(request).as_json(), headers=SAFE)

    @_in_words
    def point_csv(self, request: Request) -> Response:
        """The same as a table to keep."""
        found = self._series(request)
        name = f"point_{found.place['longitude']}_{found.place['latitude']}.csv"
        headers = {**SAFE, "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(found.as_csv(), media_type="text/csv", headers=headers)

    def _series(self, request: Request) -> PointSeries:
        asked, run = request.query_params, self._run()
        days = run.of_tile(asked.get("tile") or None)
        if not days:
            tiles = f"; the tiles are {', '.join(run.tiles)}" if run.tiles else ""
            raise HTTPException(HTTPStatus.NOT_FOUND, f"There are no days of that tile{tiles}.")
        x, y = (_number(asked, name) for name in ("x", "y"))
        if asked.get("index") and asked.get(SERIES_BANDS):
            raise InvalidInputError("A series has an index or bands, not both.")
        if asked.get("index"):
            return point_series(days, x, y, [index_of(asked["index"])])
        names = bands_of(asked.get(SERIES_BANDS) or ",".join(run.bands), days[0].bands)
        return point_series(days, x, y, [index_of(name) for name in dict.fromkeys(names)])


def _check_ready() -> None:
    if not can_draw():
        raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, INSTALL)


def _whole(asked: Mapping[str, str], name: str, usual: int, within: tuple[int, int]) -> int:
    """A whole number of a request; InvalidInputError where it is none, or out of bounds."""
    text = asked.get(name, str(usual))
    low, high = within
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high:
        return int(text)
    raise InvalidInputError(f"{name} is {text[:20]!r}; give a whole number from {low} to {high}.")


def _number(asked: Mapping[str, str], name: str) -> float:
    """A finite number of a request; InvalidInputError where it is none."""
    text = asked.get(name, "")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidInputError(f"{name} is {text[:20]!r}; give a number, a coordinate of the CRS of the days.")
    return found
