"""A Ray cluster of two machines, each a raylet with a loopback address of its own.

    127.0.0.2  the head; 2 CPUs and the resource "special"
    127.0.0.3  2 CPUs; drivers connect here

Both want a token. Run as a program it is the cluster, until its input ends.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds; how long a test waits before it gives up, not what it asserts

# Ray takes the head's raylet for a driver's wherever it finds the head on the driver's machine.
OFF_THE_HEAD = """
import functools, ray
ray.init = functools.partial(ray.init, _node_ip_address="127.0.0.3")
"""


@dataclass(frozen=True)
class Machines:
    """``folder`` is the cluster's own; ``gcs`` is the process id of the head's GCS."""

    address: str
    gcs: int
    folder: Path

    def driver(
        self,
        source: str,
        folder: Path = ROOT,
        arguments: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[str]:
        """A process of its own, connected to nothing yet, that runs ``source`` in ``folder``."""
        return subprocess.Popen(
            [sys.executable, "-c", OFF_THE_HEAD + source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "RAY_ADDRESS": self.address,
                "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
                "RAYFLOW_RAY_DIR": str(self.folder / "no-embedded-ray"),
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]),
                **environment,
            },
        )


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Start the cluster; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="rfc-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "token").write_text("the-token-of-the-tests-" + "0" * 16)
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            start_new_session=True,
            env={
                **os.environ,
                "RAY_TMPDIR": name,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
                # Of no use to any driver: each ships what its workers start with.
                "RAY_prestart_worker_first_driver": "0",
            },
        )
        try:
            assert process.stdout is not None
            yield Machines(folder=folder, **json.loads(process.stdout.readline()))
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Ray's polite shutdown would wait for what a test has killed."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def said(process: subprocess.Popen[str], given: str | None = None) -> str:
    """What the process, ``given`` this input, prints until it ends well, in silence otherwise."""
    out, err = process.communicate(given, timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), out + err
    return out


def _serve() -> None:
    from ray.cluster_utils import Cluster

    Path(os.environ["RAY_TMPDIR"], "ray").mkdir()
    cluster = Cluster()
    head = cluster.add_node(
        num_cpus=2,
        resources={"special": 1},
        node_ip_address="127.0.0.2",
        include_dashboard=False,
        include_log_monitor=False,
    )
    cluster.add_node(num_cpus=2, node_ip_address="127.0.0.3")
    gcs = head.all_processes["gcs_server"][0].process.pid
    sys.stdout.write(json.dumps({"address": cluster.address, "gcs": gcs}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
