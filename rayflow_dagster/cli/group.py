"""The command group: the one place where an error becomes a message and an exit code.

0 done, 1 the user's flow, inputs or files are at fault, 2 the command was typed wrongly, 130 it
was stopped with Ctrl-C.
"""

import contextlib
import errno
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rayflow_dagster.encodable import plain
from rayflow_dagster.errors import RayflowError

STOPPED = 130
ENV_FILE = Path(".env")


class Refused(click.ClickException):
    """Something that the user can mend: shown as one message, exit code 1."""


class _Command(click.Command):
    """Runs as Dagster's own commands do: with the ``.env`` file of the working folder."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        with contextlib.ExitStack() as stack:
            if ENV_FILE.exists():  # else no command needs dagster for this
                _read_env_file(stack)
            return super().invoke(ctx)


def _read_env_file(stack: contextlib.ExitStack) -> None:
    from rayflow_dagster.instance._dagster import local_environment

    try:
        stack.enter_context(local_environment())
    except (OSError, ValueError) as error:  # not UTF-8, or what no variable can have
        raise Refused(
            f"{ENV_FILE.absolute()} cannot be read: {error}; each line of it is NAME=value, in "
            "UTF-8"
        ) from error


class CommandGroup(click.Group):
    """Shows the project's errors and the system's as messages instead of tracebacks."""

    command_class = _Command
    group_class = type

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
