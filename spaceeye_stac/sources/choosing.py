"""Which of the scenes that were found are used: filters, bands, duplicates and masks, in a fixed order; pure."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from spaceeye_stac.errors import CatalogError, NoScenesError
from spaceeye_stac.model import FilteredScene, Scene
from spaceeye_stac.query import DEFAULT_BANDS, Query
from spaceeye_stac.sources.duplicates import duplicates, tile_code
from spaceeye_stac.sources.pairing import MaskItem, own_masks, paired, settled
from spaceeye_stac.sources.profiles import profile_named
from spaceeye_stac.sources.reflectance import OFFSET_SINCE, is_taken_as_old
from spaceeye_stac.sources.scene_list import SceneList, Unreadable

Filter = tuple[str, Callable[[Scene], bool]]


@dataclass(frozen=True)
class Candidates:
    """Scenes of a query's region and days in order of time, from which those that are used are chosen.

    `masks`: the items that are their masks, where masks are items of their own; `counted`: how many scenes there were
    before, with which an error begins; `notes`: what was left out before.
    """

    scenes: tuple[Scene, ...]
    masks: tuple[MaskItem, ...] | None
    query: Query
    counted: str
    notes: tuple[str, ...] = ()

    def chosen(self, unreadable: Sequence[Unreadable] = ()) -> SceneList:
        """Choose without those that cannot be read, so that an older version of one takes its place.

        Raises NoScenesError where none is left, CatalogError where the bands that are wanted are in none.
        """
        gone = {id(one.scene.item) for one in unreadable}
        left = _Left([scene for scene in self.scenes if id(scene.item) not in gone], self.counted, [*self.notes])
        left.notes += [one.note for one in unreadable]
        if unreadable and not left.scenes:
            raise NoScenesError(f"No scene found: {self.counted}, 0 of them readable: {unreadable[0].note}")
        for one in _filters(self.query):
            left.keep(*one)
        left.notes += _doubtful_cloud(left.scenes)
        bands = wanted_bands(left.scenes, self.query)
        left.notes += _partly(left.scenes, bands) if self.query.bands is None else []
        left.keep_bands(bands)
        twins = left.drop_duplicates()
        for one in _cloud_filter(self.query):
            left.keep(*one)
        masked, without = settled(
            own_masks(left.scenes) if self.masks is None else paired(left.scenes, self.masks), self.query.unmasked
        )
        if not masked:
            raise NoScenesError(
                f"No scene found: {left.counted}, 0 of them with a mask; look at mask_collection and mask_asset."
            )
        return SceneList(
            [scene.with_bands(bands) for scene in masked],
            [*left.notes, *without],
            doubts=_doubtful_offsets(masked),
            gone=unreadable,
            contested=twins,
            filtered=left.filtered,
            chosen=self.chosen,
            query=self.query,
        )


@dataclass
class _Left:
    """The scenes that are left, how many there were at each step in words, and what was left out.

    `filtered`: those that a filter left out, which the notes only count.
    """

    scenes: list[Scene]
    counted: str
    notes: list[str]
    filtered: list[FilteredScene] = field(default_factory=list)

    def keep(self, text: str, test: Callable[[Scene], bool]) -> None:
        """Keep the scenes that pass a filter; NoScenesError where none does."""
        passed = [scene for scene in self.scenes if test(scene)]
        self.counted += f", {len(passed)} of them {text}"
        if not passed:
            raise NoScenesError(f"No scene found: {self.counted}; widen or leave out that filter.")
        if len(passed) < len(self.scenes):
            self.notes.append(f"{len(self.scenes) - len(passed)} of {len(self.scenes)} scenes left out: not {text}.")
            self.filtered += [FilteredScene(scene, f"not {text}") for scene in self.scenes if not test(scene)]
        self.scenes = passed

    def keep_bands(self, bands: Sequence[str]) -> None:
        """Keep the scenes that have all bands, and name the others.

        That comes before duplicates, so that an item without a band replaces none that has it.
        """
        lacking = {id(scene): [name for name in bands if name not in scene.bands] for scene in self.scenes}
        self.notes += [
            f"Scene {scene.id} left out: it lacks bands {','.join(lacking[id(scene)])}."
            for scene in self.scenes
            if lacking[id(scene)]
        ]
        self.scenes = [scene for scene in self.scenes if not lacking[id(scene)]]

    def drop_duplicates(self) -> tuple[str, ...]:
        """Keep one scene of each acquisition; gives the ids of those of which there is another."""
        found = duplicates(self.scenes)
        dropped = {id(one.scene) for one in found}
        self.scenes = [scene for scene in self.scenes if id(scene) not in dropped]
        self.notes += sorted(one.note for one in found)
        self.counted += f", {len(self.scenes)} of them no duplicates" if found else ""
        return tuple(sorted({one.better.id for one in found}))


def _filters(query: Query) -> Iterator[Filter]:
    """The filters in their order, as words and test."""
    tiles, platforms, orbits = query.tiles, query.platforms, query.orbits
    if tiles is not None:
        yield f"in tiles {','.join(tiles)}", lambda s: tile_code(s.tile) in tiles
    if platforms is not None:
        yield f"of platforms {','.join(platforms)}", lambda s: (s.platform or "").lower() in platforms
    if orbits is not None:
        yield f"in orbits {','.join(map(str, orbits))}", lambda s: _orbit(s) in orbits


def _cloud_filter(query: Query) -> Iterator[Filter]:
    """Cloud comes last, so that an older version of a scene never replaces a newer one that is too cloudy."""
    most = query.max_cloud_cover
    if most is not None:
        yield f"at max_cloud_cover {most:g} or below", lambda s: s.cloud_cover is None or s.cloud_cover <= most


def _doubtful_cloud(scenes: Sequence[Scene]) -> list[str]:
    """A sentence on each scene whose cloud cover is no number, and counts as not said."""
    said = [(scene, scene.item["properties"].get("eo:cloud_cover")) for scene in scenes]
    return [
        f"Scene {scene.id}: its eo:cloud_cover {str(value)[:40]!r} is no number, and counts as not said."
        for scene, value in said
        if value is not None and scene.cloud_cover is None
    ]


def _doubtful_offsets(scenes: Sequence[Scene]) -> list[str]:
    """A sentence on the scenes that say no baseline and are taken to be of an old one, without an offset."""
    profiles = {name: profile_named(name) for name in {scene.profile for scene in scenes} if name}
    old = [s.id for s in scenes if s.profile in profiles and is_taken_as_old(s.item, profiles[s.profile])]
    if not old:
        return []
    said = (
        f"{len(old)} scenes give no processing baseline, as {old[0]}; sensed before {OFFSET_SINCE:%Y-%m-%d}, they are "
        "taken to have no offset, which is wrong where they were processed again since."
    )
    return [said]


def _orbit(scene: Scene) -> int | None:
    """Relative orbit: the scene's own, or what its product name says."""
    if scene.relative_orbit is not None:
        return scene.relative_orbit
    found = re.search(r"_R(\d{3})_", str(scene.item["properties"].get("s2:product_uri") or scene.id))
    return int(found[1]) if found else None


def wanted_bands(scenes: Sequence[Scene], query: Query) -> tuple[str, ...]:
    """The bands that are named, else those of the usual ones that at least half of the scenes have.

    Where no scene has all of those, the ones that every scene has. Raises CatalogError where there are none such.
    """
    have = {name for scene in scenes for name in scene.bands}
    if query.bands is not None:
        unknown = [name for name in query.bands if name not in have]
        if unknown:
            raise CatalogError(
                f"Bands {','.join(unknown)} are in no scene of the catalog; it has {','.join(sorted(have))}."
            )
        if not any(set(query.bands) <= set(scene.bands) for scene in scenes):
            raise CatalogError(
                f"No scene has all of the bands {','.join(query.bands)}: {_lacking(scenes[0], query.bands)}; leave "
                "some out of bands."
            )
        return tuple(query.bands)
    counts = {name: sum(name in scene.bands for scene in scenes) for name in DEFAULT_BANDS}
    usual = [name for name, count in counts.items() if count and 2 * count >= len(scenes)]
    if not any(set(usual) <= set(scene.bands) for scene in scenes):
        usual = [name for name, count in counts.items() if count == len(scenes)]
    if not usual:
        raise CatalogError("The scenes have no band in common; name bands.")
    return tuple(usual)


def _lacking(scene: Scene, bands: Sequence[str]) -> str:
    return f"{scene.id} lacks {','.join(name for name in bands if name not in scene.bands)}"


def _partly(scenes: Sequence[Scene], bands: Sequence[str]) -> list[str]:
    """A note on the usual bands that some scenes have and that are not used."""
    partly = [name for name in DEFAULT_BANDS if name not in bands and any(name in scene.bands for scene in scenes)]
    return [f"Bands {','.join(partly)} left out: not in half of the scenes."] if partly else []
