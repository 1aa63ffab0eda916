"""Text for terminals: whatever is told there goes through ``say`` or a console of here, which make
it plain.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from typing import Any, TextIO

import click
from rich.console import Console
from rich.text import Text

from rayflow_dagster.encodable import plain
from rayflow_dagster.values.jsonable import json_text, jsonable

_documents: ContextVar[TextIO | None] = ContextVar("_documents", default=None)
"""Where documents go while standard output is kept free for them."""


class _Console(Console):
    """A console whose reader may leave (``| head``): what is told is optional, so it goes silent
    where rich would end the process, with the run that it tells of.
    """

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts, plain."""
        super().print(*map(_plain, objects), **options)


def _plain(told: Any) -> Any:
    if isinstance(told, str):
        return plain(told)
    if isinstance(told, Text) and plain(told.plain) != told.plain:
        return Text(plain(told.plain), style=told.style)
    return told


def say(text: str, *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error."""
    click.echo(plain(text), err=err)


@contextmanager
def only_documents() -> Iterator[None]:
    """Whatever else is printed, by node files that are imported for example, goes to stderr."""
    token = _documents.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _documents.reset(token)


def print_document(value: Any) -> None:
    """Write ``value`` to standard output as a JSON document."""
    print(json_text(value), file=_documents.get() or sys.stdout)


def open_console(*, stderr: bool = False) -> Console:
    """A console on today's standard output, without markup and without guessing at colours."""
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def one_line(text: str) -> str:
    """``text`` on one line."""
    return plain(" ".join(text.split()))


def indented(text: str, indent: str) -> str:
    """Every line of ``text`` behind ``indent``."""
    return "\n".join(f"{indent}{line}" for line in plain(text).splitlines())


def styled(text: str, style: str) -> Text:
    """``text`` in one colour."""
    return Text(text, style=style)


def value_text(value: Any) -> str:
    """A value after ``name:``: text as it is, anything else as JSON on one line."""
    if isinstance(value, str):
        return plain(value)
    shown = jsonable(value)
    return plain(shown) if isinstance(shown, str) else json_text(value, indent=None)
