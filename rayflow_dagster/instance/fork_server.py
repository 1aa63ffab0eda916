"""The fork server: orders of runs in, for each a process that has imported everything out.

It speaks with the process that started it over a socket that only the two hold: one line of JSON
asks for a run, one line answers, with null or with what is wrong. It has imported Dagster, Ray and
this package and nothing of the author's, has opened no instance, no channel and no connection, and
has one thread; a child therefore starts from a clean state in milliseconds. Only for Linux: on
macOS a process that has used the system's frameworks cannot be forked safely.

When its parent has ended, in whatever way, the socket is closed: the server takes no more orders,
the runs that are going are finished, and then it ends. If the server itself is killed, its runs end
(see ``run_worker``).
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys

from .preload import preload
from .run_worker import RunOrder, answer, look_after


def main() -> None:
    """The server's process: ``<descriptor of the socket>``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent and the runs
    _import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets children that have ended
    server = os.getpid()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = _serve(control)
        if order is not None:
            look_after(order, control, server)


def _import_everything() -> None:
    gc.disable()  # what is never collected stays shared with the children
    preload()
    gc.collect()
    gc.freeze()
    sys.stdout.flush()  # else each child would say it again


def _serve(control: socket.socket) -> RunOrder | None:
    """As ``fork`` does it: an order in each new child, and in the server, at last, None."""
    with control.makefile("rb") as requests:
        for line in requests:
            if not line.endswith(b"\n"):  # the parent was killed in the middle of it
                break
            try:
                is_child = _fork()
            except (OSError, RuntimeError) as error:
                answer(control, f"no process for the run: {error}")
            else:
                if is_child:
                    return RunOrder(**json.loads(line))
    _wait_for_runs()
    return None


def _fork() -> bool:
    """Whether this is the child."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"the fork server has {threads} threads; forking it is not safe")
    return os.fork() == 0


def _wait_for_runs() -> None:
    with contextlib.suppress(ChildProcessError):
        os.wait()  # as its children's ends are ignored: until the last of them
