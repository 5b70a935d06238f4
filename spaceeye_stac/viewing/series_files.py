"""Series as files: CSV and Parquet."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spaceeye_stac.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd


def check_files(paths: Iterable[Path | None]) -> None:
    """Raise InvalidInputError where a file that is to be written has no folder, before anything is read."""
    for path in paths:
        if path is not None and (not path.parent.is_dir() or path.is_dir()):
            raise InvalidInputError(f"{path} cannot be written: make its folder, or name a file in another one.")


def write_csv(found: "pd.DataFrame", path: Path) -> None:
    """Write a series as CSV: dates as 2023-04-01, nothing where there is no value, numbers of nine digits."""
    found.to_csv(path, index=False, date_format="%Y-%m-%d", float_format="%.9g")


def write_parquet(found: "pd.DataFrame", path: Path) -> None:
    """Write a series as Parquet; InvalidInputError where pyarrow is not installed."""
    try:
        found.to_parquet(path, engine="pyarrow", index=False)
    except ImportError as error:
        raise InvalidInputError('Parquet needs pyarrow; pip install "spaceeye-stac[parquet]".') from error
