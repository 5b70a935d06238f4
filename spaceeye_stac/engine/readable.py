"""Whether the files of scenes can be opened at all, before anything is made of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from spaceeye_stac import methods
from spaceeye_stac.engine.request import RunRequest
from spaceeye_stac.model import Scene
from spaceeye_stac.pixels import network_use, reason_unreadable
from spaceeye_stac.query import Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources import SceneList, Unreadable


def readable_scenes(
    scenes: Sequence[Scene], query: Query, settings: Settings, earlier: RunRequest | None = None
) -> SceneList:
    """The scenes of which every file can be opened, as the query's `unreadable` wants it.

    "drop": a scene with a file that cannot be opened is left out as a whole, and an older version of it takes its
    place. "refuse": only where such a version can be opened; else the scene stays, and ends what reads it by name; a
    scene that an `earlier` run read is not opened again. Only headers are read, of all scenes before anything is made
    of one, so that nothing depends on what is read first. Bands that the mask model of the settings wants are opened,
    too.
    """
    found = scenes if isinstance(scenes, SceneList) else SceneList(scenes)
    contested = set(found.contested)
    check = _Check(_model_bands(settings))
    if query.unreadable == "drop":
        return check.without_unreadable(found)
    read = [] if earlier is None or check.also else [scene.id for scene in found if earlier.has_seen(scene)]
    for one in check.unreadable([scene for scene in found if scene.id in contested.difference(read)]):
        found = check.replaced(found, one) or found
    return found


def _model_bands(settings: Settings) -> tuple[str, ...]:
    model = None if settings.mask_model is None else methods.mask_model_of(settings)
    return () if model is None else model.bands or ()


@dataclass(frozen=True)
class _Check:
    """Opens the files of scenes, spare bands among them `also`."""

    also: tuple[str, ...]

    def without_unreadable(self, whole: SceneList) -> SceneList:
        """Choose again until every scene can be opened; those that were are not opened again."""
        found, gone = whole, list[Unreadable]()
        unchecked: list[Scene] = list(found)
        while more := self.unreadable(unchecked):
            gone = [*gone, *more]
            seen = {id(scene.item) for scene in (*found, *unchecked)}
            found = whole.without(gone)
            unchecked = [scene for scene in found if id(scene.item) not in seen]
        return found

    def replaced(self, found: SceneList, bad: Unreadable) -> SceneList | None:
        """The scenes with an older version in the place of one, where one can be opened."""
        gone = [*found.gone, bad]
        here = {id(scene.item) for scene in found}
        while True:
            other = found.without(gone)
            new = [scene for scene in other if id(scene.item) not in here]
            more = self.unreadable(new)
            if not more:
                return other if new else None
            gone += more

    def unreadable(self, scenes: Sequence[Scene]) -> list[Unreadable]:
        """The scenes of which a file cannot be opened."""
        with ThreadPoolExecutor(network_use().connections) as pool:
            reasons = list(pool.map(lambda scene: reason_unreadable(scene, self.also), scenes))
        return [
            Unreadable(scene, f"Scene {scene.id} left out: {why}.")
            for scene, why in zip(scenes, reasons, strict=True)
            if why is not None
        ]
