"""A file as a pass over its folder found it."""

from dataclasses import dataclass, field
from hashlib import blake2b

MARK = 8


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One version of a file.

    ``path``: absolute, or a URL. ``size``: bytes. ``mtime``: seconds since 1970. ``version``:
    changes with mtime or size. ``key``: the run key, the same for the same path and version.
    """

    path: str
    name: str
    size: int
    mtime: float
    version: str
    key: str = field(init=False, compare=False, repr=False)
    mark: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = f"{self.path}\0{self.version}".encode("utf-8", "surrogateescape")
        digest = blake2b(text, digest_size=16).digest()
        object.__setattr__(self, "key", digest.hex())
        object.__setattr__(self, "mark", digest[:MARK])
