"""Calendar days, and the ways in which they may be written."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from spaceeye_stac.errors import InvalidInputError


@dataclass(frozen=True)
class DateRange:
    """Calendar days from `start` to `stop`, both included."""

    start: date
    stop: date

    def __len__(self) -> int:
        return (self.stop - self.start).days + 1

    def __iter__(self) -> Iterator[date]:
        return (self.start + timedelta(days=i) for i in range(len(self)))

    def index(self, day: date) -> int:
        """Days from `start` to `day`; negative before it."""
        return (day - self.start).days

    def day(self, index: int) -> date:
        """Return the day `index` days after `start`."""
        return self.start + timedelta(days=index)

    def widened(self, days: int) -> "DateRange":
        """The range with `days` more at both ends."""
        return DateRange(self.start - timedelta(days=days), self.stop + timedelta(days=days))


def _end_of_range(text: str, *, last: bool) -> date:
    match = re.fullmatch(r"(\d{4})(?:-(\d{2}))?", text)
    try:
        if match is None:
            return datetime.fromisoformat(text).date()
        year, month = int(match[1]), int(match[2] or (12 if last else 1))
        return date(year, month, calendar.monthrange(year, month)[1] if last else 1)
    except (ValueError, calendar.IllegalMonthError) as error:
        msg = f"datetime {text!r} is not a date; write it as 2018-04-11, or a range as 2018-04-11/2018-08-08."
        raise InvalidInputError(msg) from error


def parse_datetime(text: str) -> DateRange:
    """`A/B`, or a single day, month (2018-04) or year (2018), as days; both ends are included.

    Raises InvalidInputError for anything malformed, open-ended or reversed.
    """
    ends = [part.strip() for part in str(text).split("/")]
    if any(end in {"", ".."} for end in ends):
        raise InvalidInputError(f"datetime {text!r} is open-ended; give both ends, as 2018-04-11/2018-08-08.")
    if len(ends) > 2:  # noqa: PLR2004
        raise InvalidInputError(f"datetime {text!r} has {len(ends)} parts; a range has two, as 2018-04-11/2018-08-08.")
    days = DateRange(_end_of_range(ends[0], last=False), _end_of_range(ends[-1], last=True))
    if days.stop < days.start:
        raise InvalidInputError(f"datetime {text!r} ends before it starts; swap its two ends.")
    return days
