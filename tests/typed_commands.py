"""A command line of ``rayflow-dagster``, a folder and variables in, what a process of its own
printed out.

Most of what a short command costs is importing Dagster and Ray. So the processes are forked from
one that has imported them, and nothing else, before.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

PROGRAM = "rayflow-dagster"
_FOR_THE_SHELL = frozenset("|&;<>()$`*?[]~!{}\n")

_SERVER = """
import gc, json, os, sys
from rayflow_dagster.cli import main, recorded, validate
from rayflow_dagster.instance.preload import preload

preload()
gc.collect()
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    if (pid := os.fork()) == 0:
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["variables"])
        for stream, name in (0, os.devnull), (1, asked["out"]), (2, asked["err"]):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), stream)
        sys.argv = asked["words"]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def can_be_forked(command: str) -> bool:
    """Whether it is one of the program alone, with nothing in it that a shell would do."""
    return command.startswith(f"{PROGRAM} ") and not _FOR_THE_SHELL.intersection(command)


class TypedCommands:
    """Runs commands that ``can_be_forked``, one at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is for what commands print."""
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "TypedCommands":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.communicate()

    def run(
        self, command: str, folder: Path, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """What ``command`` did in ``folder``. Variables that Python itself reads when it starts
        have no effect on it.
        """
        program, *arguments = shlex.split(command)
        found = shutil.which(program, path=variables["PATH"])
        assert found is not None
        out, err = (self._folder / name for name in ("out", "err"))
        for file in (out, err):
            file.write_text("")
        asked = {
            "words": [found, *arguments],
            "folder": os.fspath(folder),
            "variables": dict(variables),
            "out": os.fspath(out),
            "err": os.fspath(err),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())
