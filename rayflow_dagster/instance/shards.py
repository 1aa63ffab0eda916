"""The shards that a process keeps open: few at a time, none across a fork, none held for long."""

import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy.engine import Connection

from .shard import Row, Shard
from .shard_files import ShardFiles

HOLD_SECONDS = 0.05
"""How long an event may wait for its commit."""
RETRY_SECONDS = 1.0
MAX_OPEN = 16

_log = logging.getLogger(__name__)


class Shards:
    """Connections by shard, the least recently used of them closed when there are too many.

    Order of locks: ``_lock``, then those of shards. Nothing is logged under either: a log handler
    may be the one that stores events.
    """

    def __init__(self, files: ShardFiles) -> None:
        self._files = files
        self._lock = threading.RLock()
        self._shards: OrderedDict[str, Shard] = OrderedDict()
        self._is_timer_set = False
        self._frozen = ExitStack()
        with _forks.lock:
            _live.add(self)

    def hold(self, name: str, row: Row) -> None:
        """Store an event within HOLD_SECONDS, or before anything else that is done here with its
        shard.
        """
        with self._using(name) as shard:
            if not shard.hold(row):
                shard.write(row)
                return
        self._set_timer(HOLD_SECONDS)

    def write(self, name: str, row: Row) -> None:
        """Store an event and all before it; they are committed on return."""
        with self._using(name) as shard:
            shard.write(row)

    @contextmanager
    def transaction(self, name: str) -> Iterator[Connection]:
        """A transaction on a shard, committed at the end, or rolled back on an exception."""
        with self._using(name) as shard, shard.transaction() as connection:
            yield connection

    def close(self, name: str) -> None:
        """Commit what is held of a shard, and close it until it is used again."""
        with self._using(name) as shard:
            try:
                shard.write()
            finally:
                shard.close()

    def close_all(self) -> None:
        """``close`` every shard. What cannot be written is logged, and stays held."""
        for name in self._names():
            self._is_written(name)
            with self._using(name) as shard:
                shard.close()

    def forget_all(self) -> None:
        """Close every shard and drop what is held: the files are about to be deleted."""
        for name in self._names():
            with self._using(name) as shard:
                shard.forget_events()
                shard.close()

    def _names(self) -> list[str]:
        with self._lock:
            return list(self._shards)

    @contextmanager
    def _using(self, name: str) -> Iterator[Shard]:
        with self._lock:
            shard = self._shards.get(name) or Shard(name, self._files)
            self._shards[name] = shard
            self._shards.move_to_end(name)
            shard.users += 1
            self._close_idle()
        try:
            with shard.lock:
                yield shard
        finally:
            with self._lock:
                shard.users -= 1
                if not (shard.users or shard.is_needed) and self._shards.get(name) is shard:
                    del self._shards[name]

    def _close_idle(self) -> None:
        too_many = len(self._shards) - MAX_OPEN
        if too_many <= 0:
            return
        idle = [
            name
            for name, shard in self._shards.items()
            if not shard.users and not shard.holds_events
        ]
        for name in idle[:too_many]:
            self._shards.pop(name).close()

    def _set_timer(self, seconds: float) -> None:
        with self._lock:
            if self._is_timer_set:
                return
            self._is_timer_set = True
        timer = threading.Timer(seconds, self._write_held)
        timer.name = "event-log-commit"
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # The interpreter is ending: it starts no more threads.
            self._write_held()

    def _write_held(self) -> None:
        with self._lock:
            # Before the shards are looked at: an event held later sets the next timer.
            self._is_timer_set = False
            waiting = [name for name, shard in self._shards.items() if shard.holds_events]
        failed = [name for name in waiting if not self._is_written(name)]
        if failed:
            self._set_timer(RETRY_SECONDS)

    def _is_written(self, name: str) -> bool:
        """Commit what is held of a shard; that it cannot be is logged once."""
        known = False
        try:
            with self._using(name) as shard:
                known = shard.failed
                shard.write()
        except Exception as error:
            if not known:
                _log.error(
                    "Could not commit events to %s: %s. They are kept and tried again; until it "
                    "succeeds, storing or reading events of this run raises the error.",
                    self._files.path(name),
                    getattr(error, "orig", error),
                )
            return False
        return True

    def before_fork(self) -> None:
        """Close every connection, and keep all others away until the fork is over.

        To leave the parent's connections alone is not enough for a child: SQLite shares the locks
        of a file among all connections of a process, so a child that inherits one believes that it
        holds locks which only its parent holds.
        """
        with ExitStack() as frozen:
            frozen.enter_context(self._lock)
            for shard in self._shards.values():
                frozen.enter_context(shard.lock)
            self._frozen = frozen.pop_all()
        for shard in self._shards.values():
            if not shard.is_busy:
                shard.close()

    def after_fork_in_parent(self) -> None:
        self._frozen.close()

    def after_fork_in_child(self) -> None:
        """Start anew: what is held is the parent's to write, and its threads are not here."""
        # Closing a connection of the parent's would meddle with the parent's locks.
        _orphans.extend(shard.disown() for shard in self._shards.values())
        self._frozen = ExitStack()
        self._lock = threading.RLock()
        self._shards = OrderedDict()
        self._is_timer_set = False


class _Forks:
    """What is done around every fork of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._frozen: list[Shards] = []

    def before(self) -> None:
        self.lock.acquire()
        self._frozen = list(_live)
        for shards in self._frozen:
            shards.before_fork()

    def after_in_parent(self) -> None:
        for shards in self._frozen:
            shards.after_fork_in_parent()
        self._frozen.clear()
        self.lock.release()

    def after_in_child(self) -> None:
        self.lock = threading.RLock()
        for shards in self._frozen:
            shards.after_fork_in_child()
        self._frozen.clear()


_live: weakref.WeakSet[Shards] = weakref.WeakSet()
_orphans: list[object] = []
_forks = _Forks()
os.register_at_fork(
    before=_forks.before,
    after_in_parent=_forks.after_in_parent,
    after_in_child=_forks.after_in_child,
)
