"""What a project lets its flows reach: ``pyproject.toml`` in, which files and addresses out.

The built-in nodes and the sensors of files ask here, since what they read, write and send to may
come from whoever starts a flow. An author's own nodes are code, and reach what they want.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from .errors import ProjectError

DATA = ("data", "out", "inbox")
"""The folders of a project whose files its flows may use, unless it names others."""
_CODE = ("nodes", "flows")
_WILDCARD = re.compile(r"[*?\[]")
_HIDDEN = re.compile(r"\.(?!\.?\Z)")
_SETTINGS = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Reach:
    """What the flows of a project may reach.

    ``data`` are folders, from the project's ``folder`` where they are relative, and ``code`` those
    in it that say what runs. ``local_requests``: whether requests may go to this machine itself.
    """

    folder: Path
    data: tuple[str, ...] = DATA
    code: tuple[str, ...] = _CODE
    local_requests: bool = False

    @classmethod
    def here(cls) -> "Reach":
        """Of the project in the working folder, which is where its nodes run.

        Raises:
            ProjectError: its ``pyproject.toml`` cannot be read.
        """
        return cls.of(Path.cwd())

    @classmethod
    def of(cls, folder: Path) -> "Reach":
        """Of the project in ``folder``.

        Raises:
            ProjectError: its ``pyproject.toml`` cannot be read.
        """
        file = folder / _SETTINGS
        try:
            now = file.stat()
        except FileNotFoundError:
            return cls(folder)
        return _read(file, (now.st_mtime_ns, now.st_size))

    def file(self, path: str) -> Path:
        """The file behind a path, its links followed.

        Raises:
            PermissionError: it lies outside of the data folders, or where code or secrets lie.
        """
        target = (self.folder / path).resolve()
        given = next((each for each in self._data() if target.is_relative_to(each)), None)
        if given is None:
            raise PermissionError(
                f"{path!r} is {target}, which lies in none of the folders that flows may use "
                f"files of: {', '.join(self.data) or 'none'}. The setting data of "
                f"[tool.rayflow_dagster] in {self.folder / _SETTINGS} names them"
            )
        own = self.folder.resolve()
        parts = target.relative_to(own if target.is_relative_to(own) else given).parts
        _check_visible(path, parts)
        if target != given and self._is_code(target, own):
            raise PermissionError(
                f"{path!r} lies where the project's code, flows or settings lie, and flows use "
                "no files of those"
            )
        return target

    def pattern(self, path: str) -> None:
        """Check a path in which names have wildcards.

        Raises:
            PermissionError: as of ``file``, for the folder that all that match lie in.
        """
        folder = _WILDCARD.split(path, maxsplit=1)[0].rpartition("/")[0]
        self.file(folder or ("/" if path.startswith("/") else "."))
        _check_visible(path, path.split("/"))

    def _data(self) -> Iterator[Path]:
        for name in self.data:
            yield (self.folder / name).resolve()

    def _is_code(self, target: Path, own: Path) -> bool:
        """Whether a file is one of those that say what runs: where a project names its own folder
        or one above as data.
        """
        if target.parent == own and not target.is_dir():
            return True
        return any(target.is_relative_to((own / name).resolve()) for name in self.code)


def _check_visible(path: str, names: Iterable[str]) -> None:
    hidden = next((name for name in names if _HIDDEN.match(name)), None)
    if hidden is not None:
        raise PermissionError(f"{path!r}: {hidden} is hidden, and flows use no hidden files")


@lru_cache(maxsize=16)
def _read(file: Path, _changed: tuple[int, int]) -> Reach:
    try:
        tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError) as error:
        raise ProjectError(f"{file} cannot be read: {error}") from error
    settings = tool.get("rayflow_dagster", {})
    return Reach(
        file.parent,
        tuple(settings.get("data", DATA)),
        (*_CODE, *(name.replace(".", "/") for name in settings.get("nodes", ()))),
        settings.get("local_requests", False) is True,
    )


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is of this machine, or of its link, where clouds tell their secrets."""
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_link_local or address.is_unspecified


def names_local(host: str | None) -> bool:
    """Whether a name stands for such an address without being looked up."""
    name = (host or "").rstrip(".").lower()
    try:
        return is_local(ip_address(name.partition("%")[0]))
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
