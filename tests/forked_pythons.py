"""What would follow ``python`` on a command line in, a process that runs it out.

Most of what a short process costs is importing Dagster and Ray. So these are forked from one that
has imported them before, and has done nothing else. Run as a program it is that process, until its
input ends; what it has forked ends with it.

Variables that Python itself reads when it starts, but PYTHONPATH, have no effect on a forked
process, and it has more modules than it imports. Arguments, folder, variables, files and signals
are its own.

Whoever wants a process connects to a socket and sends what ``_Asked`` has, with the files that are
to be its input, output and errors. The answer is its id with a handle of it and, when it has ended,
its exit code. ``in_every_process/sitecustomize.py`` asks for the worker processes of Ray.
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
from typing import Literal, NoReturn, TextIO, TypedDict

WORKERS_VARIABLE = "FORK_WORKERS_AT"
"""Names the socket, for worker processes of Ray."""
_LONGEST = 1 << 17  # bytes of a command with its variables


class _Asked(TypedDict):
    """``words`` are ``-c`` or ``-m`` or the path of a script, and what follows.

    ``blocked`` are the signals that it does not get. ``is_worker``: it is one of Ray's.
    """

    words: list[str]
    folder: str
    variables: dict[str, str]
    blocked: list[int]
    is_worker: bool


class ForkedProcess:
    """A process as ``subprocess.Popen`` has it, with pipes for what it prints, which is text."""

    def __init__(self, server: socket.socket, out: int, err: int) -> None:
        pid, (self._handle,), *_ = socket.recv_fds(server, _LONGEST, 1)
        self.pid = int(pid)
        self.returncode: int | None = None
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self._server = server

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def poll(self) -> int | None:
        """Its exit code, None as long as it lives."""
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Its exit code, once it has ended; a signal that ended it is negative."""
        if self.returncode is None:
            with self._server:
                self.returncode = int(self._server.recv(_LONGEST))
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
    """Starts processes. ``kind`` says what they have imported already: "commands" all that a
    command may, "workers" what every worker process of Ray does.
    """

    def __init__(self, kind: Literal["commands", "workers"]) -> None:
        with _unconnected() as listener:
            listener.bind("")  # a name of its own, which is no file
            listener.listen(100)
            self.address = os.fsdecode(listener.getsockname()[1:])
            self._server = subprocess.Popen(
                [sys.executable, "-P", __file__, kind, str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )

    def __enter__(self) -> "ForkedPythons":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def start(
        self,
        words: Sequence[str],
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> ForkedProcess:
        """``words`` are ``-c`` or ``-m`` or the path of a script, and what follows. Folder and
        variables are otherwise those of this process.
        """
        asked: _Asked = {
            "words": list(words),
            "folder": os.fspath(folder or Path.cwd()),
            "variables": dict(os.environ if variables is None else variables),
            "blocked": [],
            "is_worker": False,
        }
        server = _unconnected()
        server.connect(f"\0{self.address}")
        null, out, err = os.open(os.devnull, os.O_RDONLY), os.pipe(), os.pipe()
        given = [null, out[1], err[1]]
        socket.send_fds(server, [json.dumps(asked).encode()], given)
        for each in given:
            os.close(each)
        return ForkedProcess(server, out[0], err[0])

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


def _unconnected() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve(listener: socket.socket) -> None:
    """Fork until the input ends. Returns in each child, whose words ``sys.argv`` are."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                _end(selector)
            elif key.fileobj is not listener:
                selector.unregister(key.fd)
                _has_ended(key.fd, *key.data)
            elif _is_forked(selector, listener):
                return


def _end(selector: selectors.BaseSelector) -> NoReturn:
    for known in selector.get_map().values():
        if known.data is not None:
            signal.pidfd_send_signal(known.fd, signal.SIGKILL)
    sys.exit()


def _has_ended(handle: int, pid: int, connection: socket.socket) -> None:
    os.close(handle)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with connection, contextlib.suppress(ConnectionError):  # nobody wants to know it
        connection.send(str(code).encode())


def _is_forked(selector: selectors.BaseSelector, listener: socket.socket) -> bool:
    """Whether this is the process that somebody asks for, which is ready to run its words."""
    connection, _ = listener.accept()
    message, files, *_ = socket.recv_fds(connection, _LONGEST, 3)
    if not message:  # who asked is gone
        connection.close()
        return False
    asked: _Asked = json.loads(message)
    if "ray" not in sys.modules:
        # When it is imported, Ray reads variables, and gives its workers some of its own.
        os.environ.update(asked["variables"])
        _preload_workers()
    if (pid := os.fork()) == 0:
        for known in selector.get_map().values():
            os.close(known.fd)
            if known.data is not None:
                known.data[1].close()
        listener.detach()
        selector.close()
        connection.close()
        _become(asked, files)
        return True
    for file in files:
        os.close(file)
    handle = os.pidfd_open(pid)
    selector.register(handle, selectors.EVENT_READ, (pid, connection))
    with contextlib.suppress(ConnectionError):  # nobody waits for it
        socket.send_fds(connection, [str(pid).encode()], [handle])
    return False


def _become(asked: _Asked, files: Sequence[int]) -> None:
    for stream, number in enumerate(files):
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
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    if asked["is_worker"]:
        os.setpgid(0, 0)  # Ray ends a worker with its group of processes
    else:
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


def _preload_workers() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy then starts no thread
    import numpy  # noqa: F401
    import ray._common.pydantic_compat
    import ray._common.usage.usage_lib
    import ray._private.workers.default_worker  # noqa: F401
    import starlette.concurrency  # noqa: F401

    from rayflow_dagster.actors import event_loop, resident_actor, variables, worker  # noqa: F401

    gc.collect()
    gc.freeze()


def _preload_commands() -> None:
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
    kind, number = sys.argv[1:]
    if kind == "commands":
        _preload_commands()
    _serve(socket.socket(fileno=int(number)))
    while True:
        try:
            _run(sys.argv)
            break
        except _Replaced as replaced:
            sys.argv = list(replaced.args)
