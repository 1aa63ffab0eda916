"""``python _ray_jobs.py SIZE``: seconds of chains under dagster-ray's executor, as JSON.

In a process of its own, as a process cannot change the Ray that it has once been connected to.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import _handmade
from _bench import alternate, default_instance
from _runs import record_elsewhere

LONG = {2: _handmade.ray_jobs_2, 5: _handmade.ray_jobs_5}


def in_child(size: int) -> dict[str, list[float]]:
    """What a process that runs this file measures.

    Raises:
        RuntimeError: it failed.
    """
    added = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = subprocess.run(
        [sys.executable, __file__, str(size)],
        env={**os.environ, **added},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the chain under ray_executor failed:\n{done.stderr[-4000:]}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Start a Ray that takes jobs over HTTP, on the loopback only, and run the chains on it."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="rfb-", dir="/tmp"))  # short, for Ray's sockets
    try:
        context = ray.init(
            address="local",
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            _temp_dir=str(folder),
            _node_ip_address="127.0.0.1",
        )
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://{context.dashboard_url}"
        long = LONG[int(sys.argv[1])]
        with default_instance() as instance:
            found = alternate(
                {
                    "ray jobs one": lambda: record_elsewhere(_handmade.ray_jobs_1, instance),
                    "ray jobs long": lambda: record_elsewhere(long, instance),
                },
                1,
            )
        print(json.dumps(found))
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
