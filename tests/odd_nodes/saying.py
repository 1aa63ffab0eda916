"""Nodes that say something and go on, until they are heard."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode

PAUSE = 0.05


class _Saying(RayflowNode):
    inputs = {"secret": {"type": "str", "default": ""}}
    outputs = {"value": "any"}

    GATE = ""
    """A file that is there once somebody has heard what the node says."""
    THEN = "return"

    def say(self, secret: str) -> None:
        """Say something in every way that there is."""
        self.progress(1, 4, f"parts {secret}")
        self.log.warning("logged %s", secret)
        time.sleep(PAUSE)
        self.log.info("logged later")
        print(f"printed {secret}")  # noqa: T201
        print("for errors", file=sys.stderr)  # noqa: T201
        subprocess.run(["sh", "-c", "echo by a child; echo its error >&2"], check=True)
        os.write(1, b"by descriptor\n")
        sys.stdout.write("unfinished")
        sys.stdout.flush()

    def end(self) -> dict[str, Any]:
        if self.THEN == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.THEN == "fail":
            raise ValueError("said enough")
        self.progress(4, 4, "parts")
        print(" line, and the rest")  # noqa: T201
        self.log.info("logged at the end")
        return {"value": 7}


class SayingNode(_Saying):
    """Say something, and go on once it is heard."""

    def process(self, secret: str) -> dict[str, Any]:
        self.say(secret)
        while not Path(self.GATE).exists():
            time.sleep(PAUSE)
        return self.end()


class SayingAsyncNode(_Saying):
    """As SayingNode, on the event loop; what a child prints by itself is not the node's there."""

    async def process(self, secret: str) -> dict[str, Any]:
        self.say(secret)
        while not Path(self.GATE).exists():
            await asyncio.sleep(PAUSE)
        return self.end()


class FloodNode(RayflowNode):
    """Have a child print much more than is kept, and go on once a little is heard."""

    outputs = {"value": "any"}
    GATE = ""

    def process(self) -> dict[str, Any]:
        flood = "import sys\nfor _ in range(4000): sys.stdout.write('x' * 9999 + '\\n')"
        subprocess.run([sys.executable, "-S", "-c", flood], check=True)
        while not Path(self.GATE).exists():
            time.sleep(PAUSE)
        return {"value": 7}
