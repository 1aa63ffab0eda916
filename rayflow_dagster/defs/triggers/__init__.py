"""What starts flows by itself, as Dagster has it: schedules and sensors."""

from .build import LocationTriggers, build_triggers

__all__ = ["LocationTriggers", "build_triggers"]
