"""Listings that the sensors of a process share, so that each folder is passed over once."""

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rayflow_dagster.errors import TriggerError, describe

from .passes import FoundFile, local_files, url_files
from .patterns import Pattern, extension_of

_Key = tuple[str, int | None, bool]


class Listing:
    """What one pass found. ``began``: when, in seconds since 1970, before the first look.

    Patterns are looked up by the literal beginning or by the extension of what they match, and
    each is matched once.
    """

    def __init__(self, began: float, files: Iterable[tuple[str, FoundFile]]) -> None:
        self.began = began
        self._files = sorted(files, key=lambda each: each[0])
        self._names = [name for name, _ in self._files]
        self._by_extension: defaultdict[str, list[tuple[str, FoundFile]]] = defaultdict(list)
        for each in self._files:
            self._by_extension[extension_of(each[0].rpartition("/")[2])].append(each)
        self._matched: dict[tuple[str, ...], Sequence[FoundFile]] = {}

    def matching(self, pattern: Pattern) -> Sequence[FoundFile]:
        """The files that match."""
        found = self._matched.get(pattern.rest)
        if found is None:
            matches = pattern.matches
            found = [file for name, file in self._candidates(pattern) if matches(name)]
            self._matched[pattern.rest] = found
        return found

    def _candidates(self, pattern: Pattern) -> Sequence[tuple[str, FoundFile]]:
        if not pattern.prefix:
            extension = pattern.extension
            return self._by_extension.get(extension, ()) if extension else self._files
        start = bisect_left(self._names, pattern.prefix)
        end = bisect_left(self._names, pattern.prefix + "\U0010ffff", lo=start)
        return self._files[start:end]


@dataclass(slots=True)
class _Folder:
    """The last pass over a folder: its times on the monotonic clock, and what came of it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = float("-inf")
    ended: float = float("-inf")
    listing: Listing | None = None
    problem: str = ""


class Listings:
    """Passes over folders, shared by the threads of a process. ``passes``: how many there were."""

    def __init__(self) -> None:
        self.passes = 0
        self._lock = threading.Lock()
        self._folders: defaultdict[_Key, _Folder] = defaultdict(_Folder)

    def files(self, pattern: Pattern, max_age: float) -> tuple[Sequence[FoundFile], float]:
        """The files that match, and when the pass that found them began (seconds since 1970).

        A pass that ended less than ``max_age`` seconds ago is used again; who comes while one
        goes on waits for it. A failed pass is shared in the same way.

        Raises:
            TriggerError: the folder could not be read, wholly or in part.
        """
        key = (pattern.folder, pattern.depth, pattern.hidden)
        asked = time.monotonic()
        with self._lock:
            folder = self._folders[key]
        with folder.lock:
            if folder.started < asked and time.monotonic() - folder.ended >= max_age:
                with self._lock:
                    self.passes += 1
                _pass(folder, pattern)
            if folder.listing is None:
                raise TriggerError(folder.problem)
            return folder.listing.matching(pattern), folder.listing.began


def _pass(folder: _Folder, pattern: Pattern) -> None:
    folder.started = time.monotonic()
    folder.listing = None
    look = url_files if pattern.is_url else local_files
    began = time.time()
    try:
        folder.listing = Listing(began, look(pattern.folder, pattern.depth, pattern.hidden))
    except Exception as error:  # each filesystem has its own; all that wait are told
        folder.problem = _problem(pattern, error)
    finally:
        folder.ended = time.monotonic()


def _problem(pattern: Pattern, error: Exception) -> str:
    if isinstance(error, TriggerError):
        return str(error)
    if isinstance(error, FileNotFoundError) and not pattern.is_url:
        return f"folder {pattern.folder} is not there: create it, or correct the sensor's path"
    return (
        f"cannot list {pattern.folder}: {describe(error)}. Nothing is lost: its files are looked "
        "at again with the next tick"
    )
