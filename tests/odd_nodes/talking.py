import asyncio
import io
import os
import subprocess
import sys
from typing import Any

import click

from rayflow_dagster import RayflowNode

HALF = "caf\udce9"
"""As ``os.listdir`` gives a name that is no UTF-8."""


class UnwritableError(Exception):
    """Cannot be written, nor can its notes and causes."""


class Unsayable:
    def __str__(self) -> str:
        raise RuntimeError("no comment")


class TalkNode(RayflowNode):
    """Say something in the way that HOW names."""

    outputs = {"value": "any"}
    HOW = "print"

    def process(self) -> dict[str, Any]:
        return {"value": getattr(self, f"say_{self.HOW}")()}

    def say_print(self) -> None:
        print(HALF)  # noqa: T201 - what this node is for

    def say_click(self) -> None:
        click.echo("café")

    def say_buffer(self) -> None:
        sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\n")

    def say_reconfigured(self) -> None:
        sys.stdout.reconfigure(encoding="latin-1")  # type: ignore[union-attr]
        print(sys.stdout.encoding)  # noqa: T201

    def say_wrapped(self) -> None:
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        print("wrapped")  # noqa: T201

    def say_subprocess(self) -> None:
        print("before")  # noqa: T201
        subprocess.run([sys.executable, "-c", "print('child')"], stdout=sys.stdout, check=True)
        print("after")  # noqa: T201

    def say_descriptor(self) -> None:
        with os.fdopen(sys.stdout.fileno(), "w") as closed_then:
            closed_then.write("by descriptor")

    def say_closed(self) -> None:
        with sys.stdout as closed_then:
            closed_then.write("closed")

    def say_log(self) -> None:
        self.log.warning("cannot open %s", HALF)
        self.log.info(Unsayable())

    def say_error(self) -> None:
        try:
            raise OSError(HALF)
        except OSError as cause:
            error = UnwritableError(f"cannot open {HALF}")
            error.add_note(HALF)
            raise error from cause

    def say_group(self) -> None:
        raise ExceptionGroup("several", [ValueError(HALF)])

    def say_value(self) -> str:
        return HALF


class SlowTalkNode(RayflowNode):
    """Say NAME before and after others had their turn."""

    NAME = ""

    async def process(self) -> dict[str, Any]:
        for _ in range(3):
            sys.stdout.buffer.write(self.NAME.encode())
            sys.stdout.flush()
            await asyncio.sleep(0)
        return {}
