"""Noticing that the head of a cluster is dead, before Ray ends this process for it.

When the GCS stops answering, Ray raises nothing: calls hang, and after 60 s Ray ends the process
without a Python exception. A process that has disconnected by then lives on.
"""

import errno
import logging
import threading
from collections.abc import Callable

from rayflow_dagster.errors import ClusterError

from . import addresses

logger = logging.getLogger(__name__)

Listener = Callable[[ClusterError], None]

START_IT = "Look at the head's logs (gcs_server.out), start it again and launch the flow again"
STARTS_ITSELF = "It is the embedded Ray, which the next run starts again; launch the flow again"

_PAUSE_SECONDS = 2.0
# What this process has too little of to ask, which says nothing of the head.
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)
# A dead head refuses at once; one that hangs is asked for three seconds each time. What a busy
# machine does to a living one must stay below that.
_FAILURES = 3
# Whoever is told needs a moment to end calls to Ray: one that is still waiting when this process
# disconnects ends with SystemExit.
_GRACE_SECONDS = 10.0


class HeadWatch:
    """Asks the head at ``address`` from a thread of its own, until it is gone or ``stop()``.

    With plain TCP: any client of Ray's would itself end the process. ``tell`` is called once with
    the error when the head is gone, and ``disconnect`` some seconds later. ``advice`` is what the
    error says is to be done.
    """

    def __init__(
        self, address: str, tell: Listener, disconnect: Callable[[], None], advice: str = START_IT
    ) -> None:
        self._address = address
        self._advice = advice
        self._tell = tell
        self._disconnect = disconnect
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rayflow-head-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. May be called from the listeners, hence without waiting."""
        self._stopped.set()

    def _run(self) -> None:
        failures = 0
        while failures < _FAILURES:
            if self._stopped.wait(_PAUSE_SECONDS):
                return
            problem = self._problem()
            failures = failures + 1 if problem else 0
        error = ClusterError(
            f"the head of the Ray cluster at {self._address} stopped answering ({problem}); what "
            f"ran on the cluster is lost. {self._advice}"
        )
        self._tell(error)
        if not self._stopped.wait(_GRACE_SECONDS):
            logger.error("%s", error)
            self._disconnect()

    def _problem(self) -> str:
        """What is wrong with the head, "" for nothing."""
        try:
            return "" if addresses.answers(self._address) else "something else answers there"
        except OSError as error:
            return "" if error.errno in _OWN_TROUBLE else str(error)
