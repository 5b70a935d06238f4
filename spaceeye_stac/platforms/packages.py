"""What `spaceeye-stac package` prints, by its name."""

from collections.abc import Callable

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.platforms.cwl import application_package
from spaceeye_stac.platforms.description import process_description
from spaceeye_stac.platforms.openeo import openeo_process
from spaceeye_stac.platforms.queryables import queryables
from spaceeye_stac.query import Json

FORMS: dict[str, Callable[[], Json]] = {
    "process": process_description,
    "cwl": application_package,
    "openeo": openeo_process,
    "queryables": queryables,
}


def packaged(form: str) -> Json:
    """The document of that name; InvalidInputError for one that is not known."""
    if form not in FORMS:
        raise InvalidInputError(f"form {form!r} is not known; choose from {', '.join(FORMS)}.")
    return FORMS[form]()
