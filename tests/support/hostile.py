"""Real documents, spoilt at random, through search, plan and print: `python -m tests.support.hostile 10000 [SEED]`.

What is counted: runs that end in a result or in one sentence, tracebacks, anything printed that a terminal acts on, the
slowest, the memory, and every file and address that is opened outside of the catalog's folder and its server.
"""

import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spaceeye_stac as se
from spaceeye_stac.collection.durable import TEMPORARY
from spaceeye_stac.engine import plan
from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.outlines import footprint
from spaceeye_stac.query import UNMASKED
from spaceeye_stac.sources import as_records, search
from tests.support.failing_api import FlakyApi
from tests.support.loopback import serving
from tests.support.material import ROOT, material

Json = dict[str, Any]
Place = tuple[str | int, ...]


def nested(depth: int) -> list[Any]:
    """A list in a list, so many times."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def fresh(value: Any) -> Any:
    """A copy, however deep: copy.deepcopy ends at a few hundred."""
    return json.loads(json.dumps(value))


RING = [[10**400, 0], [1, 0], [1, 1], [0, 0]]
ESCAPES = "\x1b]0;title\x07\x1b[31m\x9b2J\u202e\u2066\r\nEND"
ODD: list[Any] = [
    *(None, True, False, 0, -1, 7, 10**6, 10**400, -(10**25), 0.5, float("nan"), float("inf"), -1e308, 1e-320),
    *("", "x", "\ud800", ESCAPES, "0" * 5000, "\x00", "[", "%", "{0}{a}", "\u200b"),
    *("EPSG:-1", f"EPSG:{'9' * 40}", "EPSG:None", "EPSG:4978", "EPSG:5773", "EPSG:2056"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"),
    *("2020-02-30", "2020-13-01T00:00:00Z", "2020-06-30T23:59:60Z", "MGRS-31UDS", "N05.00"),
    *("S2A_MSIL2A_20200101T000000_N9999_R999_T99ZZZ_X", "S2A_99ZZZ_20200101_0_L2A", "sentinel-2-l2a", 9**400),
    *("../../../../etc/passwd", "file:///etc/passwd", "file:///cat/a?/../../etc/passwd", "/dev/zero"),
    *("/proc/self/environ", "/vsicurl/http://127.0.0.1:1/x", "http://10.0.0.1/x", "http://[::1", "//"),
    *([], {}, nested(50), nested(900), [[[[1, 2]]]], [None], ["text"] * 6, [1e308] * 6, [float("nan")] * 6),
    *("http://[fd00::1]/x", "s3://", "file://", {"href": {}}, {"rel": "self"}, {"type": "Point"}),
    *({"type": "Polygon", "coordinates": [RING]}, {"type": "GeometryCollection", "geometries": [{}]}),
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
    {"type": "GeometryCollection", "geometries": nested(900)},
]  # fmt: skip
WORTH_A_TRY = (
    *("geometry", "bbox", "properties", "assets", "links", "id", "collection", "type", "stac_version", "features"),
    *("stac_extensions", "datetime", "start_datetime", "href", "rel", "proj:epsg", "proj:code", "proj:transform"),
    *("proj:shape", "proj:wkt2", "proj:projjson", "raster:bands", "bands", "eo:bands", "roles", "coordinates", "gsd"),
    *("eo:cloud_cover", "numberMatched", "context", "next", "s2:processing_baseline", "grid:code", "platform"),
)
DEEPEST = 7


def real_items() -> list[Json]:
    """Items of many catalogs, as served."""
    found = [json.loads(path.read_text()) for path in sorted(material("stac-items").rglob("*.json"))]
    return [item for item in found if isinstance(item, dict) and "assets" in item and footprint(item) is not None]


def places(node: object, at: Place = ()) -> Iterator[Place]:
    """Where something stands in a document, as its keys from the root."""
    children: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*at, key)
        if len(at) < DEEPEST:
            yield from places(child, (*at, key))


def put(document: Any, at: Place, value: object) -> None:
    """Put a value in a place of a document."""
    for key in at[:-1]:
        document = document[key]
    document[at[-1]] = fresh(value)


def spoil(document: Any, rng: random.Random, times: int) -> None:
    """Change a document in so many places: values of wrong types, missing and additional ones."""
    for _ in range(times):
        found = list(places(document))
        likely = [at for at in found if at[-1] in WORTH_A_TRY]
        if not found:
            return
        at, chance = rng.choice(likely if likely and rng.random() < 0.6 else found), rng.random()
        parent = document
        for key in at[:-1]:
            parent = parent[key]
        if chance < 0.75:
            parent[at[-1]] = fresh(rng.choice(ODD))
        elif chance < 0.9:
            del parent[at[-1]]
        elif isinstance(parent, dict):
            parent[rng.choice(WORTH_A_TRY)] = fresh(rng.choice(ODD))


def query_near(item: Json, catalog: str | Path, **options: Any) -> se.Query:
    """A query of a few pixels on the day and in the middle of an item."""
    place = footprint(item)
    assert place is not None
    at = place.representative_point()
    x, y = (at.x + 180) % 360 - 180, at.y
    said = str(item["properties"].get("datetime"))[:10]
    day = said if said[:2] == "20" else "2020-01-01"
    return se.Query(catalog=catalog, bbox=(x, y, x + 0.002, y + 0.002), datetime=day, **options)


def outcome(query: se.Query, *, planned: bool) -> str:
    """Search, plan and print, as the commands do; the kind of end. AssertionError for what a terminal would act on."""
    try:
        scenes = search(query)
        json.loads(json.dumps(as_records(scenes), allow_nan=False))
        texts = [str(scenes), repr(scenes)]
        if planned:
            found = plan(query)
            json.dumps(found.as_json(), allow_nan=False)
            texts += [str(found), found.short]
    except SpaceEyeError as error:
        texts, end = [str(error)], type(error).__name__
    else:
        end = "result"
    for text in texts:
        raw = {c for c in text if not c.isprintable() and c != "\n"}
        assert not raw, f"{raw} are printed as they are"
        assert "\nEND" not in text, "a name makes a line of its own"
    return end


class WildApi(FlakyApi):
    """An API with a page and a landing page of any kind."""

    wild: Any = None
    landing: Any = None

    def page(self, asked: Json, method: str, path: str = "/search") -> Json:
        """What is given, whatever was asked."""
        found: Json = super().page(asked, method, path) if self.wild is None else self.wild
        return found

    def root(self) -> Json:
        """The landing page as it should be, or what is given."""
        found: Json = super().root() if self.landing is None else self.landing
        return found


@dataclass
class Watch:
    """Files and addresses that Python opens while it is `active`, but for those of programs and those allowed."""

    allowed: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    active: bool = False
    strange: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        program = [sys.prefix, sys.base_prefix, str(ROOT), str(Path(se.__file__).parent), os.path.realpath(sys.prefix)]
        machine = ["/usr", "/proc", "/sys/fs/cgroup", "/dev/null", "/etc/localtime"]
        self.allowed += [*program, *machine, str(Path(tempfile.gettempdir(), TEMPORARY))]
        sys.addaudithook(self._audit)  # which cannot be taken away again

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - which opens nothing
            if not path.startswith(tuple(self.allowed)) or path.startswith(("/proc/self/environ", "/proc/1")):
                self.strange[f"open {path}"] += 1
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            host, port = arguments[1][:2]
            if host != "127.0.0.1" or port not in self.ports:
                self.strange[f"connect {host}:{port}"] += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is done within."""
        self.active = True
        try:
            yield
        finally:
            self.active = False


class Source:
    """A catalog made of some items, as one file, as files that link to one another, or as an API; spoilt."""

    def __init__(self, folder: Path, api: WildApi, rng: random.Random) -> None:
        self.folder, self.api, self.rng = folder, api, rng

    def made_of(self, item: Json) -> str | Path:
        """Where it is, of three copies of an item, one or all of them spoilt, or what holds them."""
        items = [fresh(item) for _ in range(3)]
        if self.rng.random() < 0.3:
            spoil(items[0], self.rng, self.rng.randint(1, 4))
            items = [fresh(items[0]) for _ in range(3)]
        elif self.rng.random() < 0.8:
            spoil(items[1], self.rng, self.rng.randint(1, 4))
        for n, one in enumerate(items):
            if n and isinstance(one.get("id"), str):
                one["id"] += f"_{n}"
        ways: list[Callable[[list[Json]], str | Path]] = [self._collected, self._linked, self._served]
        return self.rng.choice(ways)(items)

    def _holding(self, document: Json) -> Json:
        if self.rng.random() < 0.3:
            spoil(document, self.rng, self.rng.randint(1, 2))
        return document

    def _collected(self, items: list[Json]) -> Path:
        return self._written("items.json", self._holding({"type": "FeatureCollection", "features": items}))

    def _linked(self, items: list[Json]) -> Path:
        for n, item in enumerate(items):
            self._written(f"{n}.json", item)
        common = {"stac_version": "1.0.0", "id": "c", "description": "c"}
        links = [{"rel": "item", "href": f"./{n}.json"} for n in range(len(items))]
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        inner = {**common, "type": "Collection", "license": "x", "extent": extent, "links": links}
        self._written("collection.json", self._holding(inner))
        outer = {**common, "type": "Catalog", "links": [{"rel": "child", "href": "./collection.json"}]}
        return self._written("catalog.json", self._holding(outer))

    def _served(self, items: list[Json]) -> str:
        self.api.landing = None
        self.api.wild = self._holding({"type": "FeatureCollection", "features": items, "links": []})
        if self.rng.random() < 0.3:
            self.api.landing = self._holding(fresh(FlakyApi.root(self.api)))
        return self.api.url

    def _written(self, name: str, document: Json) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(document))
        return path


def main(count: int, seed: int) -> None:
    """Run and count."""
    rng, ends, slowest = random.Random(seed), Counter[str](), 0.0  # noqa: S311
    usable, folder = real_items(), Path(tempfile.mkdtemp()).resolve()
    watch = Watch([str(folder)])
    with serving(WildApi([])) as api:
        watch.ports.add(int(api.url.rpartition(":")[2]))
        source, begin = Source(folder, api, rng), time.monotonic()
        for number in range(1, count + 1):
            item = rng.choice(usable)
            options = {"profile": "generic"} if rng.random() < 0.3 else {}
            query = query_near(item, source.made_of(item), unmasked=rng.choice(UNMASKED), **options)
            start = time.monotonic()
            try:
                with watch.watching():
                    ends[outcome(query, planned=number % 4 == 0)] += 1
            except Exception as error:  # noqa: BLE001 - each is what is looked for
                ends[f"TRACEBACK {type(error).__name__}"] += 1
                traceback.print_exc(limit=-4)
            slowest = max(slowest, time.monotonic() - start)
            if number % 1000 == 0 or number == count:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                took = time.monotonic() - begin
                print(number, dict(ends), f"slowest {slowest:.1f} s, all {took:.0f} s, {memory:.0f} MB", flush=True)  # noqa: T201
    print("opened elsewhere:", dict(watch.strange) or "nothing")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
