"""Text for terminals: values, labels and log lines as they may be shown."""

import re
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.text import Text

from rayflow_dagster.encodable import encodable
from rayflow_dagster.jsonable import json_text, jsonable

# Escape sequences in a label or log line must not reach the terminal; newline and tab may.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _Console(Console):
    """A console whose reader may leave (``| head``): what is told is optional, so it goes silent
    where rich would end the process, with the run that it tells of.
    """

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()


def open_console(*, stderr: bool = False) -> Console:
    """A console on today's standard output, without markup and without guessing at colours."""
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def plain(text: str) -> str:
    """``text`` with control characters and half characters made visible."""
    text = encodable(text.replace("\r\n", "\n"))
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


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
