"""The secrets that callers may send: from the lines of a text or file to the flows each is for."""

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .flows import Stamp, stamp_of

LEAST_SECRET = 16
_SECRET = re.compile(rf"[!-~]{{{LEAST_SECRET},}}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a secret is for. ``flows``: names of flows; None for all."""

    flows: frozenset[str] | None = None

    def __contains__(self, flow: object) -> bool:
        return self.flows is None or flow in self.flows

    def __or__(self, other: "Granted") -> "Granted":
        if self.flows is None or other.flows is None:
            return EVERYTHING
        return Granted(self.flows | other.flows)


EVERYTHING = Granted()


@dataclass(frozen=True, slots=True)
class Secrets:
    """The valid secrets and what each is for."""

    granted: Mapping[bytes, Granted]

    def find(self, sent: bytes) -> Granted | None:
        """What a secret is for; None if it is wrong. Takes as long for either."""
        found = [each for secret, each in self.granted.items() if hmac.compare_digest(secret, sent)]
        return found[0] if found else None

    def has_signed(self, signature: str, content: bytes, flow: str) -> bool:
        """Whether ``signature`` is ``sha256=`` and the HMAC of ``content`` with a secret that is
        valid for ``flow``.
        """
        signed = signature.encode("latin-1")
        found = [
            hmac.compare_digest(f"sha256={_hmac(secret, content)}".encode(), signed)
            for secret, granted in self.granted.items()
            if flow in granted
        ]
        return any(found)

    @property
    def names(self) -> frozenset[str]:
        """The flows that have secrets of their own."""
        return frozenset().union(*(each.flows or () for each in self.granted.values()))


def parse_secrets(text: str) -> Secrets:
    """The secrets in ``text``: on each line one, or the name of a flow, a colon, a space and one.

    Empty lines count for nothing, nor do those that begin with #.

    Raises:
        ValueError: there is none, or a line has none that is fit; the message shows none.
    """
    found: dict[bytes, Granted] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, secret = _line(line)
        if name is not None and not re.fullmatch(r"[A-Za-z0-9_]+", name):
            raise ValueError(f"line {number}: a flow's name has letters, digits and _ alone")
        if not _SECRET.fullmatch(secret):
            raise ValueError(
                f"line {number}: a secret must have {LEAST_SECRET} or more visible ASCII "
                "characters and no space"
            )
        granted = EVERYTHING if name is None else Granted(frozenset({name}))
        known = found.get(secret.encode())
        found[secret.encode()] = granted if known is None else known | granted
    if not found:
        raise ValueError("it has no secret")
    return Secrets(found)


def _hmac(secret: bytes, content: bytes) -> str:
    return hmac.new(secret, content, hashlib.sha256).hexdigest()


def _line(line: str) -> tuple[str | None, str]:
    name, colon, rest = line.partition(":")
    return (name.strip(), rest.strip()) if colon and rest[:1].isspace() else (None, line)


class SecretFile:
    """The secrets in ``file``, which is read again when it has changed. For one thread.

    Raises:
        OSError: (when it is made) the file cannot be read.
        ValueError: (when it is made) it is not as ``parse_secrets`` wants it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: Stamp = stamp_of(file)
        self._secrets = self._read()

    def current(self) -> Secrets:
        """The secrets as they are now; where the file is broken, which is logged, the last ones."""
        stamp = stamp_of(self._file)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._secrets = self._read()
                _LOG.warning("the secrets of %s were read again", self._file)
            except (OSError, ValueError) as error:
                _LOG.error("%s: %s; the secrets of before stay valid", self._file, error)
        return self._secrets

    def _read(self) -> Secrets:
        return parse_secrets(self._file.read_text(encoding="utf-8-sig", errors="replace"))
