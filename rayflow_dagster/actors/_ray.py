"""The one module that uses Ray's private API. Written against Ray 2.60.

Whoever upgrades Ray reads this page; nothing outside it should break.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray._common.utils import get_system_memory
from ray._private import ray_constants, services, worker
from ray._private.state import state
from ray._raylet import (  # type: ignore[attr-defined]  # Ray's stub leaves them out
    AuthenticationTokenLoader,
    Config,
    GcsClient,
)

_SESSION_KEY = b"session_name"
_SESSION_NAMESPACE = b"session"


@dataclass(frozen=True, slots=True)
class Drivers:
    """The drivers a cluster knows of, this process left out.

    ``live`` is how many are connected; ``newest`` the id of the last that ever connected, ""
    when there was none.
    """

    live: int
    newest: str


def reload_authentication() -> None:
    """Make this process read ``RAY_AUTH_*`` from the environment again; Ray caches both.

    The mode first, the token second: a thread of an ending connection that reloads the token
    while the mode still says "token" aborts the process when there is no token any more.
    """
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


# What tells the processes of a new Ray that it stands alone on this machine. Despite its name it
# works on Linux: they then use 127.0.0.1 for each other and bind their ports to it, where Ray
# otherwise replaces 127.0.0.1 by the machine's own address and binds every interface.
STANDS_ALONE = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}


@contextmanager
def standing_alone() -> Iterator[None]:
    """Let ``ray.init`` in here take 127.0.0.1 literally: STANDS_ALONE for this process itself.

    The variable would be too late here, as Ray has read it when it was imported.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def ask_gcs(address: str, timeout: float) -> None:
    """Ask the GCS at ``host:port`` one question; returns when it answered.

    ``timeout`` is in seconds. Raises what Ray raises: no answer, not a GCS, token refused.
    """
    client = GcsClient(address=address)
    client.internal_kv_get(_SESSION_KEY, _SESSION_NAMESPACE, timeout=timeout)


def resolve(address: str) -> str:
    """The ``host:port`` that ``ray.init`` would connect to for ``host:port`` or ``auto``.

    "auto" becomes a Ray found on this machine, localhost the machine's own address. Raises
    ConnectionError when "auto" finds none, ValueError for what is no address.
    """
    return str(services.canonicalize_bootstrap_address_or_die(address))


def system_memory() -> int:
    """Memory of this machine or container, in bytes."""
    return int(get_system_memory())


def gcs_address() -> str:
    """``host:port`` of the cluster this process is connected to."""
    return str(ray.get_runtime_context().gcs_address)


def dead_head_processes() -> list[str]:
    """Names of the head's processes (GCS, raylet...) that have ended; this process started them."""
    node = worker._global_node
    return [name for name, _process in node.dead_processes()] if node else ["head"]


def other_drivers() -> Drivers:
    """The drivers of the connected cluster, this process and Ray's own jobs left out."""
    own = ray.get_runtime_context().get_job_id()
    table = state.job_table()  # type: ignore[no-untyped-call]
    jobs = [job for job in table if job["JobID"] != own]
    live = sum(1 for job in jobs if not job["IsDead"])
    return Drivers(live=live, newest=max((job["JobID"] for job in jobs), default=""))


def autoscales() -> bool:
    """Whether an autoscaler has told the connected cluster of node groups it may add."""
    config = state.get_cluster_config()
    return config is not None and len(config.node_group_configs) > 0
