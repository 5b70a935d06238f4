"""The scenes of a search as a list that shows itself, with what was left out and why."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsIndex, cast, overload
from urllib.parse import urlsplit

from spaceeye_stac.display import Html, card, element, folded, map_of, notes, paragraph, table
from spaceeye_stac.errors import NoScenesError, printable, redacted
from spaceeye_stac.model import FilteredScene, Scene
from spaceeye_stac.query import Json, Query

ASKED, CONTEXT = "asked", "context"
SHOWN_ROWS = 40
PUBLIC_HOST = re.compile(r"(?!.*\.(local|localhost|internal|lan|home|arpa)$)[a-z0-9.-]+\.[a-z]{2,}")
THUMBNAIL = "max-height:4em;max-width:6em;display:block"


@dataclass(frozen=True)
class Unreadable:
    """A scene of which a file cannot be opened, and the sentence that names both and says why."""

    scene: Scene
    note: str


class SceneList(list[Scene]):
    """A list of scenes that prints as a table, with what the search left out and why.

    A slice is one, too, and so is what a test or a list of bools chooses: `scenes[lambda scene: scene.epsg == 32631]`.
    `doubts`: sentences on what is taken for granted of the scenes, which a plan says; `gone`: scenes that are left out
    as a file of theirs cannot be opened; `contested`: ids of those of whose acquisition there is an older version;
    `filtered`: those that a filter left out, which `left_out` only counts; `query`: what was searched for.
    """

    def __init__(
        self,
        scenes: Sequence[Scene] = (),
        left_out: Sequence[str] = (),
        *,
        doubts: Sequence[str] = (),
        gone: "Sequence[Unreadable]" = (),
        contested: Sequence[str] = (),
        filtered: Sequence[FilteredScene] = (),
        chosen: "Callable[[Sequence[Unreadable]], SceneList] | None" = None,
        query: Query | None = None,
    ) -> None:
        super().__init__(scenes)
        self.left_out, self.gone, self.contested = tuple(left_out), tuple(gone), tuple(contested)
        self.doubts, self.filtered = tuple(doubts), tuple(filtered)
        self._chosen, self.query = chosen, query

    def without(self, unreadable: "Sequence[Unreadable]") -> "SceneList":
        """Choose again without these, so that older versions of them are used; without a search they only go."""
        if self._chosen is not None:
            return self._chosen(unreadable)
        gone, said = {id(one.scene.item) for one in unreadable}, [one.note for one in unreadable]
        if unreadable and not [scene for scene in self if id(scene.item) not in gone]:
            raise NoScenesError(f"No scene is left: {said[0]}")
        left = [scene for scene in self if id(scene.item) not in gone]
        return SceneList(
            left,
            [*self.left_out, *said],
            doubts=self.doubts,
            gone=unreadable,
            filtered=self.filtered,
            query=self.query,
        )

    @property
    def unreadable(self) -> tuple[str, ...]:
        """A sentence on each scene that is left out as a file of it cannot be opened."""
        return tuple(one.note for one in self.gone)

    def use_of(self, scene: Scene) -> str | None:
        """Whether a scene is of the days "asked" for, or "context" around them; None where no search was made."""
        if self.query is None:
            return None
        days = self.query.days
        return ASKED if days.start <= scene.day <= days.stop else CONTEXT

    @overload
    def __getitem__(self, chosen: SupportsIndex, /) -> Scene: ...
    @overload
    def __getitem__(self, chosen: slice | Sequence[bool] | Callable[[Scene], bool], /) -> "SceneList": ...
    def __getitem__(self, chosen: object, /) -> "Scene | SceneList":
        """One scene; those of a slice; or those for which a list of bools, or a test, says so."""
        if isinstance(chosen, slice):
            return self._some(super().__getitem__(chosen))
        if callable(chosen):
            return self._some([scene for scene in self if chosen(scene)])
        if hasattr(chosen, "__len__"):  # an array of bools has an __index__, too
            return self._some([scene for scene, keep in zip(self, cast("Sequence[bool]", chosen), strict=True) if keep])
        return super().__getitem__(cast("SupportsIndex", chosen))

    def _some(self, scenes: Sequence[Scene]) -> "SceneList":
        """Some of these scenes; which one replaces another is not chosen again."""
        return SceneList(scenes, doubts=self.doubts, query=self.query)

    def __str__(self) -> str:
        rows = [f"{'day':10}  {'tile':6} {'epsg':>5}  {'cloud':>5}  {'clear':>5}  {'use':7}  id"]
        for s in self:
            shares = "  ".join(f"{_percent(share):>5}" for share in (s.cloud_cover, s.clear_share))
            rows.append(f"{s.day}  {s.tile or '':6} {s.epsg:>5}  {shares}  {self.use_of(s) or '':7}  {s.id}")
        return "\n".join(printable(row) for row in [*rows, *self._counted(), *self.left_out])

    def _counted(self) -> Iterator[str]:
        context = sum(self.use_of(scene) == CONTEXT for scene in self)
        yield f"{len(self)} scenes" + (f", {context} of them outside the days, as context" if context else "")

    def __repr__(self) -> str:
        days = sorted(scene.day for scene in self)
        said = [f"{len(self)} scenes", *([f"{days[0]} to {days[-1]}"] if days else [])]
        return f"SceneList({', '.join([*said, *([_counted_notes(self.left_out)] if self.left_out else [])])})"

    def _repr_html_(self) -> str:
        region = None if self.query is None else self.query.geometry
        rows = self._table(self[:SHOWN_ROWS])
        more = [folded(f"{len(self) - SHOWN_ROWS} more", self._table(self[SHOWN_ROWS:]))] if self[SHOWN_ROWS:] else []
        said = [folded(_counted_notes(self.left_out), notes(self.left_out))] if self.left_out else []
        picture = map_of(region, [scene.item for scene in self])
        return card("Scenes", paragraph(*self._counted()), picture, rows, *more, *said)

    def _table(self, scenes: "SceneList") -> Html:
        """A row for each scene, without the columns of which nothing is known."""
        columns: dict[str, list[object]] = {
            "day": [scene.day for scene in scenes],
            "tile": [scene.tile or "" for scene in scenes],
            "cloud": [_percent(scene.cloud_cover) for scene in scenes],
            "clear": [_percent(scene.clear_share) for scene in scenes],
            "use": [self.use_of(scene) or "" for scene in scenes],
            "thumbnail": [_image(thumbnail_href(scene.item)) for scene in scenes],
            "id": [scene.id for scene in scenes],
        }
        shown = {name: cells for name, cells in columns.items() if any(cells)}
        numbers = [i for i, name in enumerate(shown) if name in {"cloud", "clear"}]
        return table([*shown], zip(*shown.values(), strict=True), numbers)


def _counted_notes(said: Sequence[str]) -> str:
    return f"{len(said)} note{'s' if len(said) > 1 else ''}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0f}%"


def _image(href: str | None) -> Html:
    more = {"loading": "lazy", "referrerpolicy": "no-referrer", "alt": "", "style": THUMBNAIL}
    return Html() if href is None else element("img", src=href, **more)


def thumbnail_href(item: Json) -> str | None:
    """The address of an item's thumbnail where anybody may read it: of a public host, and without a token."""
    for key, asset in item["assets"].items():
        href = asset.get("href")
        if isinstance(href, str) and (key == "thumbnail" or "thumbnail" in (asset.get("roles") or ())):
            return href if _is_public(href) else None
    return None


def _is_public(href: str) -> bool:
    try:
        parts = urlsplit(href)
        host = parts.hostname or ""
    except ValueError:
        return False
    plain = redacted(href) == href and printable(href) == href
    return plain and parts.scheme in {"http", "https"} and PUBLIC_HOST.fullmatch(host) is not None
