"""Types of run config that Dagster has no public name for."""

from typing import Any

from dagster._config import ConfigScalar, ConfigScalarKind


class _GivenNumber(ConfigScalar):
    """A number as it was given. Dagster's own converts it, and fails on an integer that no float
    can hold before anybody can say what is wrong with which input.
    """

    def __init__(self) -> None:
        super().__init__(key="Number", given_name="Number", scalar_kind=ConfigScalarKind.FLOAT)

    def post_process(self, value: Any) -> Any:
        return value


GIVEN_NUMBER = _GivenNumber()
"""The one object of its name, as Dagster wants it."""
