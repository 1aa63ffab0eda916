"""The command group: the one place where an error becomes a message and an exit code.

0 done, 1 the user's flow, inputs or files are at fault, 2 the command was typed wrongly, 130 it
was stopped with Ctrl-C. A command with ``--json`` prints a document then, too.
"""

import contextlib
import errno
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from rayflow_dagster.encodable import plain
from rayflow_dagster.errors import InvalidInputsError, RayflowError, ValidationError, describe

from .typed import AS_JSON, Typed, no_such_command

_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
STOPPED = 130
STOPPED_TEXT = "the command was stopped"
ENV_FILE = Path(".env")


class Refused(click.ClickException):
    """Something that the user can mend: shown as one message, exit code 1.

    ``findings`` are the single faults of which the message tells, where it tells of several.
    """

    def __init__(self, message: str, findings: Sequence[str] = ()) -> None:
        super().__init__(plain(message))
        self.findings = list(findings)


class Stopped(click.exceptions.Exit):
    """The user typed Ctrl-C."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


class _Command(Typed):
    """Runs as Dagster's own commands do: with the ``.env`` file of the working folder."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        with contextlib.ExitStack() as stack:
            if ENV_FILE.exists():  # else no command needs dagster for this
                _read_env_file(stack)
            if ctx.meta.get(AS_JSON):
                from .terminal import only_documents  # local, as is all that takes rich

                stack.enter_context(only_documents())
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


class CommandGroup(Typed, click.Group):
    """Shows the project's errors and the system's as messages instead of tracebacks."""

    command_class = _Command
    group_class = type

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed."""
        _show_any_character()
        with _told_as_document(ctx), shown_as_messages():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names."""
        if not ctx.resilient_parsing and args[0] not in self.commands and args[0][:1] != "-":
            raise no_such_command(args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)


@contextlib.contextmanager
def _told_as_document(ctx: click.Context) -> Iterator[None]:
    """Print an error as a JSON document, too, where one was asked for."""
    try:
        yield
    except Stopped:
        _print_error(ctx, STOPPED_TEXT)
        raise
    except (click.exceptions.Exit, click.Abort):
        raise
    except click.ClickException as error:
        _print_error(ctx, error.format_message(), getattr(error, "findings", ()))
        raise
    except Exception as error:
        if not isinstance(error, BrokenPipeError):  # else nobody reads it
            _print_error(ctx, describe(error))
        raise


def _print_error(ctx: click.Context, text: str, findings: Sequence[str] = ()) -> None:
    if ctx.meta.get(AS_JSON) and ctx.parent is None:
        from .terminal import print_document

        with contextlib.suppress(OSError):  # what is wrong may be that nothing can be printed
            print_document({"success": False, "error": text, "findings": list(findings)})


@contextlib.contextmanager
def shown_as_messages() -> Iterator[None]:
    """Errors of the project, of files and Ctrl-C as click's own exceptions."""
    try:
        yield
    except click.ClickException as error:
        error.message = plain(error.message)  # type: ignore[misc]
        raise
    except RayflowError as error:
        raise Refused(str(error), _findings(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        raise Stopped from None
    except OSError as error:
        place = error.filename
        if place is None and error.errno in _OF_DISKS:  # a write, which does not say where
            place = "what the command writes, or what is printed, cannot be stored"
        if error.errno == errno.EPIPE or place is None:
            raise
        raise Refused(f"{place}: {error.strerror}") from error


def _findings(error: RayflowError) -> Sequence[str]:
    match error:
        case ValidationError():
            return error.findings
        case InvalidInputsError():
            return error.problems
    return ()


def _show_any_character() -> None:
    """A terminal that cannot show a character gets its number instead of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
