import ctypes
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rayflow_dagster import RayflowNode


class UnpicklableError(Exception):
    """Does not survive pickling."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")
        self.lock = threading.Lock()


class SilentError(Exception):
    """Fails when asked what it says."""

    def __str__(self) -> str:
        raise RuntimeError("no comment")


class FailNode(RayflowNode):
    """Fail in the way that HOW names."""

    outputs = {"value": "any"}
    HOW = "value"

    def process(self) -> dict[str, Any]:
        getattr(self, f"fail_{self.HOW}")()
        return {"value": 1}

    def fail_value(self) -> None:
        raise ValueError("deep down")

    def fail_cause(self) -> None:
        try:
            self.fail_value()
        except ValueError as error:
            raise KeyError("on top") from error

    def fail_unpicklable(self) -> None:
        raise UnpicklableError("this", "that")

    def fail_silent(self) -> None:
        raise SilentError

    def fail_huge(self) -> None:
        raise ValueError("x" * 5_000_000)

    def fail_recursion(self) -> None:
        self.fail_recursion()

    def fail_exit(self) -> None:
        sys.exit(3)

    def fail_interrupt(self) -> None:
        raise KeyboardInterrupt

    def fail_death(self) -> None:
        os._exit(1)

    def fail_killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail_segfault(self) -> None:
        ctypes.string_at(0)

    def fail_abort(self) -> None:
        os.abort()

    def fail_gone(self) -> None:
        os._exit(0)


class DyingOnInputsNode(RayflowNode):
    """Die, whatever comes."""

    inputs = {"number": "int", "words": "list"}

    def process(self, number: int, words: list[Any]) -> dict[str, Any]:
        os._exit(number + len(words))


class DyingNode(RayflowNode):
    """Die in the first attempt; then tell how many there were."""

    outputs = {"value": "int"}

    def process(self) -> dict[str, Any]:
        attempts = self.variables.increment("attempts")
        if attempts == 1:
            os._exit(1)
        return {"value": attempts}


class GiveNode(RayflowNode):
    """Return what WHAT names."""

    outputs = {"value": "any"}
    WHAT = "number"

    def process(self) -> Any:
        return {
            "number": {"value": 1},
            "folder": {"value": os.getcwd()},
            "pid": {"value": os.getpid()},
            "generator": self.numbers(),
            "generator inside": {"value": self.numbers()},
            "lock": {"value": threading.Lock()},
            "text": "no dict",
            "missing": {},
            "undeclared": {"value": 1, "valeu": 2},
            "large": {"value": b"x" * 2_000_000},
        }[self.WHAT]

    def numbers(self) -> Iterator[int]:
        yield 1


class MoveNode(RayflowNode):
    """Change the working folder."""

    def process(self) -> dict[str, Any]:
        os.chdir("/")
        return {}


class HangNode(RayflowNode):
    """Write the process id to a file and never end."""

    inputs = {"path": str}

    def process(self, path: str) -> dict[str, Any]:
        part = pathlib.Path(path + ".part")
        part.write_text(str(os.getpid()))
        part.rename(path)
        while True:
            time.sleep(3600)


class OwnNode(RayflowNode):
    """Ask Ray for something, and so for an actor of its own."""

    outputs = {"pid": int}
    ray_options = {"num_cpus": 2}

    def process(self) -> dict[str, Any]:
        return {"pid": os.getpid()}


class VariablesNode(RayflowNode):
    """Do with the variable `counter` what WHAT names."""

    outputs = {"value": "any"}
    WHAT = "get"
    FACTOR = 10

    def process(self) -> dict[str, Any]:
        return {"value": getattr(self, f"do_{self.WHAT}")()}

    def do_get(self) -> Any:
        return self.variables.get("counter")

    def do_unknown(self) -> Any:
        return self.variables.get("countre")

    def do_mistyped(self) -> Any:
        return self.variables.set("counter", "many")

    def do_readonly(self) -> Any:
        return self.variables.set("limit", 2)

    def do_scale(self) -> Any:
        return self.variables.update("counter", lambda value: value * self.FACTOR)

    def do_nested(self) -> Any:
        store = self.variables
        return store.update("counter", lambda value: value + store.get("counter"))


class BrokenPromiseNode(RayflowNode):
    """Promise one exec output and fire two."""

    exec_outputs = ("a", "b")
    exec_exclusive = True

    def process(self) -> dict[str, Any]:
        return {"exec_next": list(self.exec_outputs)}
