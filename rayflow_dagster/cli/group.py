"""The command group: the one place where an error becomes a message and an exit code.

0 done, 1 the user's flow, inputs or files are at fault, 2 the command was typed wrongly, 130 it
was stopped with Ctrl-C.
"""

import contextlib
import errno
import io
import sys
from collections.abc import Iterator
from typing import Any

import click

from rayflow_dagster.encodable import plain
from rayflow_dagster.errors import RayflowError

STOPPED = 130


class Refused(click.ClickException):
    """Something that the user can mend: shown as one message, exit code 1."""


class CommandGroup(click.Group):
    """Shows the project's errors and the system's as messages instead of tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        _show_any_character()
        with shown_as_messages():
            return super().invoke(ctx)


@contextlib.contextmanager
def shown_as_messages() -> Iterator[None]:
    """Errors of the project, of files and Ctrl-C as click's own exceptions."""
    try:
        yield
    except click.ClickException as error:
        error.message = plain(error.message)  # type: ignore[misc]
        raise
    except RayflowError as error:
        raise Refused(plain(str(error))) from error
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        raise click.exceptions.Exit(STOPPED) from None
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is None:
            raise
        raise Refused(plain(f"{error.filename}: {error.strerror}")) from error


def _show_any_character() -> None:
    """A terminal that cannot show a character gets its number instead of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
