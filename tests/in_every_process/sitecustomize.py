"""Imported by each Python process that a test starts: large imports in, few collections of garbage
and none at the end out. Worker processes of a Ray whose workers are forked end here.

Collections take two fifths of what a short process costs that imports Dagster and Ray.
"""

import atexit
import gc
import os
import sys

gc.set_threshold(50_000, 20, 50)
atexit.register(gc.freeze)  # all that is left ends with the process


def _fork_instead(address: str) -> None:
    """Have a process forked that has imported Ray already, and end. Ray takes it for the one that
    it has started, as it knows its workers by what they tell.
    """
    import json
    import signal
    import socket

    variables = {name: text for name, text in os.environ.items() if name != "FORK_WORKERS_AT"}
    asked = {
        "words": sys.orig_argv[1:],
        "folder": os.getcwd(),
        "variables": variables,
        "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "is_worker": True,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(f"\0{address}")
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
        if server.recv(1):
            os._exit(0)


if "FORK_WORKERS_AT" in os.environ and sys.orig_argv[1].endswith("/workers/default_worker.py"):
    _fork_instead(os.environ["FORK_WORKERS_AT"])
