"""What starts flows by itself, as Dagster has it: schedules and sensors."""

from .build import LocationTriggers, build_triggers
from .failure_sensor import failure_handlers, handler_problems
from .starts import Target

__all__ = ["LocationTriggers", "Target", "build_triggers", "failure_handlers", "handler_problems"]
