"""The name of a time zone in; what is wrong with it, or a moment there, out."""

import zoneinfo
from datetime import datetime, time, timedelta
from functools import lru_cache

from .suggest import did_you_mean


def zone_problem(name: str) -> str | None:
    """What is wrong with the name of a time zone; None for one that is known."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        hint = did_you_mean(name, _known_zones())
        return (
            f"there is no time zone '{name:.80}'; use a name of the IANA database such as "
            f"Europe/Madrid, or UTC{hint}"
        )
    return None


@lru_cache(maxsize=1)  # looked up on disk
def _known_zones() -> list[str]:
    return sorted(zoneinfo.available_timezones())


def moment(text: str, zone: str, now: datetime) -> datetime:
    """The moment that a time means, with its zone.

    Raises:
        ValueError: it means none.
    """
    here = zoneinfo.ZoneInfo(zone)
    try:
        if ":" not in text:  # Python also takes 0630, and a day alone
            raise ValueError(text)
        if "-" in text.partition(":")[0]:
            found = datetime.fromisoformat(text)
            return found if found.tzinfo is not None else found.replace(tzinfo=here)
        of_day = time.fromisoformat(text)
    except ValueError:
        problem = f"{text!r:.80} is no time; write one as 06:30 or 2027-01-01T06:30"
        raise ValueError(problem) from None
    there = of_day.tzinfo or here
    day = now.astimezone(there).date()
    found = datetime.combine(day, of_day.replace(tzinfo=None), there)
    return found if found > now else found + timedelta(days=1)
