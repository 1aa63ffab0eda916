"""Definitions, and parts of them, that Dagster has no public way to make."""

import copy
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from dagster import Definitions, JobDefinition, OpDefinition, RepositoryDefinition
from dagster._config import ConfigScalar, ConfigScalarKind
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.definitions.repository_definition import (
    SINGLETON_REPOSITORY_NAME,
    RepositoryData,
)
from dagster._core.definitions.utils import check_valid_name


def lazy_definitions(
    one: Callable[[str], JobDefinition | None], whole: Callable[[], Definitions]
) -> Definitions:
    """The definitions of ``whole``, which is called once and only when more is asked for than a
    job that ``one`` makes: a run's process needs no other.
    """
    definitions = _LazyDefinitions()
    definitions.one, definitions.whole = one, cache(whole)
    return definitions


class _LazyDefinitions(Definitions):
    one: Callable[[str], JobDefinition | None]
    whole: Callable[[], Definitions]

    def get_repository_def(self) -> RepositoryDefinition:
        return self._repository

    @cached_property
    def _repository(self) -> RepositoryDefinition:
        data: Any = _LazyData(self.one, self.whole)
        load_data = DefinitionsLoadContext.get()._repository_load_data
        return RepositoryDefinition(
            SINGLETON_REPOSITORY_NAME, repository_data=data, repository_load_data=load_data
        )


def _of_whole(name: str) -> Any:
    return property(lambda definitions: getattr(definitions.whole(), name))


# What ``Definitions.merge`` and the like read.
for _name in ("assets", "schedules", "sensors", "jobs"):
    setattr(_LazyDefinitions, _name, _of_whole(_name))


@RepositoryData.register
class _LazyData:
    """Dagster's data of a repository; ``get_job`` is all that a run's process asks for."""

    def __init__(
        self, one: Callable[[str], JobDefinition | None], whole: Callable[[], Definitions]
    ) -> None:
        self._one = cache(one)
        self._whole = whole

    @cached_property
    def _all(self) -> RepositoryData:
        return self._whole().get_repository_def()._repository_data

    def get_job(self, job_name: str) -> JobDefinition:
        is_loaded = "_all" in self.__dict__
        found = None if is_loaded else self._one(job_name)
        return self._all.get_job(job_name) if found is None else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)


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


def op_like(op: OpDefinition, name: str, description: str) -> OpDefinition:
    """``op`` under another name and description.

    Made anew, an op has each of its ports checked and converted again, which is most of the time
    that a code location takes to load. ``op`` itself must not stand in a graph.

    Raises:
        DagsterInvalidDefinitionError: the name is not a legal one.
    """
    twin = copy.copy(op)
    twin._name = check_valid_name(name)
    twin._description = description
    return twin
