"""A STAC task of Element 84's stactask: a payload with items of scenes in, one with items of days out.

    python -m spaceeye_stac.platforms.stac_task run payload.json --output days.json

The task's options in the payload are the inputs of the process (`spaceeye-stac package process`) but for the catalog.
"""

from pathlib import Path
from typing import Any

from stactask import Task

from spaceeye_stac import __version__
from spaceeye_stac.errors import InvalidInputError, NoScenesError
from spaceeye_stac.pipeline import run
from spaceeye_stac.platforms.inputs import ProcessInputs, inputs_from
from spaceeye_stac.query import Json

LINKS_OF_THE_FOLDER = ("root", "parent", "collection", "self", "prev", "next", "describedby")
HELD = "the payload's features"  # in the place of a catalog


class FillDays(Task):  # type: ignore[misc]  # an optional extra
    """Fill clouds: the items of scenes become items of days, their files uploaded as the payload says.

    Nothing is uploaded before all days are finished. Raises SpaceEyeError's children, each with a sentence.
    """

    name = "spaceeye"
    description = "A cloud-free image for every day from cloudy Sentinel-2 scenes"
    version = __version__

    def process(self, **_parameters: Any) -> list[Json]:  # noqa: ANN401 - with options of others, too
        """Make the days of the payload's features."""
        inputs, features = self._inputs(), self.payload.items_as_dicts
        if not features:
            raise NoScenesError("The payload has no features; give it the items of the scenes.")
        found = run(
            inputs.query,
            inputs.settings,
            out=Path(self._workdir) / "days",
            scenes=features,
            output=inputs.output,
            resources=inputs.resources,
        )
        days = []
        for item in found.collection.get_items():
            item.make_asset_hrefs_absolute()
            for relation in LINKS_OF_THE_FOLDER:
                item.clear_links(relation)
            days.append((self.upload_local_item_assets_to_s3(item) if self._upload else item).to_dict())
        return days

    def _inputs(self) -> ProcessInputs:
        """What the payload asks for; InvalidInputError for what makes no sense, before anything is read."""
        inputs = inputs_from({**self.task_options, "catalog": HELD})
        if inputs.output.days == "virtual":
            raise InvalidInputError("days 'virtual' cannot be uploaded file by file; leave it out.")
        collection = inputs.settings.collection_id
        if self._upload and "path_template" not in self.payload.get_collection_upload_options(collection):
            raise InvalidInputError(
                f"The payload has no upload_options with a path_template for {collection}; give one, or --no-upload."
            )
        return inputs


if __name__ == "__main__":
    FillDays.cli()
