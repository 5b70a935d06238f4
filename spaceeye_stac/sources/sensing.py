"""When an item was sensed: at one time, over an interval, or on a day of which nothing more is said."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from spaceeye_stac.errors import ItemError
from spaceeye_stac.query import Json

DEGREES_PER_HOUR = 15.0
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sensing:
    """The time that stands for an item, and the interval from `start` to `stop` it lies in, which may be that time."""

    when: datetime
    start: datetime
    stop: datetime

    @classmethod
    def at(cls, when: datetime) -> "Sensing":
        """At one time."""
        return cls(when, when, when)

    @property
    def is_day_alone(self) -> bool:
        """Whether a date is all that is said: midnight alone, or as the start of the whole day."""
        length = self.stop - self.start
        return is_midnight(self.when) and (not length or (self.when == self.start and length > ONE_DAY / 2))

    def solar_day(self, lon: float) -> date:
        """The solar day on a longitude; what is dated with the day alone was sensed on that day, wherever it is."""
        return self.when.astimezone(UTC).date() if self.is_day_alone else solar_day(self.when, lon)


def sensing_of(item: Json) -> Sensing:
    """When an item was sensed, by `datetime` where there is one, which may lie in an interval of at most a day.

    Raises ItemError for what is no time, and for a composite, which is made of the images of more than a day.
    """
    given = item["properties"].get("datetime")
    start, stop = (time_of(item["properties"].get(name)) for name in ("start_datetime", "end_datetime"))
    if start is not None and stop is not None and abs(stop - start) > ONE_DAY:
        raise ItemError(
            f"Item {item['id']} is a composite from {start:%Y-%m-%d} to {stop:%Y-%m-%d}, and no acquisition; leave it "
            "out."
        )
    when = time_of(given)
    if when is None and given is not None:
        raise ItemError(f"Item {item['id']} has datetime {given!r}, which is no RFC 3339 time.")
    if start is None or stop is None or stop < start:
        if when is None:
            raise ItemError(
                f"Item {item['id']} has no datetime and no interval from start_datetime to end_datetime, as composites "
                "have, and is no acquisition; leave it out."
            )
        return Sensing.at(when)
    if when is None:
        return Sensing(start, start, stop)
    return Sensing(when, start, stop) if start <= when <= stop else Sensing.at(when)


def time_of(value: object) -> datetime | None:
    """A time, in UTC where it does not say its zone; None for what is none."""
    try:
        when = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def is_midnight(when: datetime) -> bool:
    """Whether a time is exactly the start of a day in UTC, which is how a date without a time is written."""
    return when.astimezone(UTC).time() == time.min


def solar_day(when: datetime, lon: float) -> date:
    """Calendar date of the local solar time, UTC + lon/15 hours, so that one overpass falls on one day everywhere."""
    return (when.astimezone(UTC) + timedelta(hours=lon / DEGREES_PER_HOUR)).date()
