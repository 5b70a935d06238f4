"""Publications that may not be whole."""

from pathlib import Path
from typing import Any

import spaceeye_stac as se
from spaceeye_stac.errors import PublishError, TargetError


def published(run: Path, target: str, **options: Any) -> tuple[se.Report | None, str]:
    """The report of a publication, and what was said where it is not whole."""
    try:
        return se.publish(run, target, **options), ""
    except (PublishError, TargetError) as error:
        report = getattr(error, "report", None)
        return (report if isinstance(report, se.Report) else None), str(error)
