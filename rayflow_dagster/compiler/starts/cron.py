"""A cron string in; what is wrong with it out.

A cron string is right that Dagster takes and that ticks. Dagster reads cron strings with a copy of
croniter 6.0 of its own, which a flow is validated without; the package of that very version reads
them here, and the tests compare the two.
"""

from datetime import UTC, datetime

_LONGEST = 500
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_FORM = "minute, hour, day of the month, month, day of the week, for example '0 6 * * mon-fri'"


def cron_problem(text: str) -> str | None:
    """What is wrong with ``text``; None for a cron string that Dagster takes and that ticks."""
    from croniter import CroniterError, croniter  # local: few flows have a schedule

    if len(text) > _LONGEST:  # reading takes a time that grows with the square
        return f"has {len(text):,} characters, which is too long; {_LONGEST} are allowed"
    if not text.startswith("@") and len(text.split()) != 5:
        return f"must have five fields ({_FORM}), not {len(text.split())}"
    try:
        croniter.expand(text)
    except CroniterError as error:
        reason = str(error).strip().splitlines()[-1]
        return f"is no cron string ({reason:.200}); write five fields: {_FORM}"
    try:  # as Dagster's page of schedules does, which fails where no time comes
        croniter(text, _SOME_DAY).get_next(datetime)
    except CroniterError:
        return "never comes: none of these months has such a day; change the day or the month"
    return None
