"""What would follow ``python`` on a command line in, a process that runs it out.

Most of what a short process costs is importing Dagster and Ray. So these are forked from one that
has imported them before, and has done nothing else. Run as a program it is that process, until
nobody is connected to its socket any more.

Variables that Python itself reads when it starts, but PYTHONPATH, have no effect on a forked
process, and it has more modules than it imports. Arguments, folder, variables, files and signals
are its own.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

_LONGEST = 1 << 17  # bytes of a command with its variables


class ForkedProcess:
    """A process as ``subprocess.Popen`` has it, with pipes for what it prints, which is text."""

    def __init__(self, pid: int, handle: int, ended: int, out: int, err: int) -> None:
        """``handle`` is a pidfd; its exit code can be read from ``ended``."""
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self._handle = handle
        self._ended = os.fdopen(ended)

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def poll(self) -> int | None:
        """Its exit code, None as long as it lives."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Its exit code, once it has ended; a signal that ended it is negative."""
        if self.returncode is None:
            with self._ended:
                self.returncode = int(self._ended.read())
            os.close(self._handle)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing, if it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """All that it still prints, once it has ended."""
        printed: dict[TextIO, str] = {}

        def read(file: TextIO) -> None:
            printed[file] = "" if file.closed else file.read()

        # Not a pool, which would wait for a process that hangs when the test has given it up.
        beside = threading.Thread(target=read, args=(self.stderr,), daemon=True)
        beside.start()
        read(self.stdout)
        beside.join()
        with self:
            return printed[self.stdout], printed[self.stderr]


class ForkedPythons:
    """Starts processes, from one thread."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> "ForkedPythons":
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._server.wait()

    def start(
        self,
        words: Sequence[str],
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> ForkedProcess:
        """``words`` are ``-c`` or ``-m`` or the path of a script, and what follows. Folder and
        variables are otherwise those of this process.
        """
        asked = {
            "words": list(words),
            "folder": os.fspath(folder or Path.cwd()),
            "variables": dict(os.environ if variables is None else variables),
        }
        ended, out, err = os.pipe(), os.pipe(), os.pipe()
        given = [ended[1], out[1], err[1]]
        socket.send_fds(self._control, [json.dumps(asked).encode()], given)
        for each in given:
            os.close(each)
        pid, (handle,), *_ = socket.recv_fds(self._control, _LONGEST, 1)
        return ForkedProcess(int(pid), handle, ended[0], out[0], err[0])

    def run(
        self,
        words: Sequence[str],
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """What a process has printed, and its exit code."""
        process = self.start(words, folder, variables)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.wait(), out, err)


class _Replaced(BaseException):
    """A process becomes another program, which its words say."""


def _serve(control: socket.socket) -> None:
    """Fork until the other end is closed. Returns in each child, whose words ``sys.argv`` are."""
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                pid, ended = key.data
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                selector.unregister(key.fd)
                os.close(key.fd)
                with contextlib.suppress(BrokenPipeError):  # nobody wants to know it
                    os.write(ended, str(code).encode())
                os.close(ended)
                continue
            message, (ended, out, err), *_ = _asked(control)
            if (pid := os.fork()) == 0:
                for known in selector.get_map().values():
                    os.close(known.fd)
                    if known.data is not None:
                        os.close(known.data[1])
                control.detach()
                selector.close()
                os.close(ended)
                _become(json.loads(message), out, err)
                return
            os.close(out)
            os.close(err)
            handle = os.pidfd_open(pid)
            selector.register(handle, selectors.EVENT_READ, (pid, ended))
            socket.send_fds(control, [str(pid).encode()], [handle])


def _asked(control: socket.socket) -> Any:
    found = socket.recv_fds(control, _LONGEST, 3)
    if not found[0]:
        sys.exit()
    return found


def _become(asked: dict[str, Any], out: int, err: int) -> None:
    for number, stream in (out, 1), (err, 2):
        os.dup2(number, stream)
        os.close(number)
    # As Python makes them for a pipe.
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    sys.argv = asked["words"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execv = _replace


def _replace(path: str, words: Sequence[str]) -> NoReturn:
    assert path == sys.executable, f"{path} is no Python that can be forked"
    raise _Replaced(*words[1:])


def _run(words: list[str]) -> None:
    kind, *rest = words
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    elif kind == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(kind))
        runpy.run_path(kind, run_name="__main__")


def _preload() -> None:
    import importlib
    import pkgutil

    import uvicorn  # noqa: F401

    from rayflow_dagster import cli, testing  # noqa: F401
    from rayflow_dagster.instance.preload import preload

    preload()
    for module in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests
    _preload()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    while True:
        try:
            _run(sys.argv)
            break
        except _Replaced as replaced:
            sys.argv = list(replaced.args)
