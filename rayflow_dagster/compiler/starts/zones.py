"""Names of time zones."""

import zoneinfo
from functools import lru_cache

from rayflow_dagster.suggest import did_you_mean


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
