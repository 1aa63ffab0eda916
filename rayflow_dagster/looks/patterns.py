"""Patterns of paths: ``*``, ``?``, ``[...]`` inside a name, ``**`` for any folders."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")
_VISIBLE = r"(?!\.)"


@dataclass(frozen=True, slots=True)
class Pattern:
    """``folder``: its literal part, an absolute path or a URL. ``rest``: the names below it."""

    folder: str
    rest: tuple[str, ...]

    @classmethod
    def of(cls, path: str, root: Path) -> "Pattern":
        """The pattern that ``path`` is: a URL, or a path from the folder ``root``.

        Nothing is looked up. Only ``path`` is a pattern, ``root`` is taken as it is.
        """
        scheme, mark, below = path.removeprefix("file://").rpartition("://")
        names = below.split("/")
        literal = 0
        while literal < len(names) - 1 and not _MAGIC.search(names[literal]):
            literal += 1
        rest = tuple(name for name in names[literal:] if name not in ("", "."))
        if not rest or rest[-1] == "**":
            rest = (*rest, "*")
        start = "/".join(names[:literal]) + ("/" if literal == 1 and not names[0] else "")
        if mark:
            return cls(f"{scheme}://{start}", rest)
        return cls(os.path.abspath(root / os.path.expanduser(start)), rest)

    @property
    def is_url(self) -> bool:
        """Whether fsspec has to look."""
        return "://" in self.folder

    @property
    def depth(self) -> int | None:
        """How many names deep a match lies in the folder; None: any."""
        return None if "**" in self.rest else len(self.rest)

    @property
    def hidden(self) -> bool:
        """Whether it names hidden files or folders itself."""
        return any(name.startswith(".") for name in self.rest)

    @property
    def extension(self) -> str:
        """The extension that every match has, with its dot; empty where that is open."""
        _, dot, extension = self.rest[-1].rpartition(".")
        return f".{extension}" if dot and not re.search(r"[*?\[\]]", extension) else ""

    @property
    def prefix(self) -> str:
        """What every match, relative to the folder, begins with."""
        return _MAGIC.split("/".join(self.rest), maxsplit=1)[0]

    @property
    def matches(self) -> Callable[[str], object]:
        """Tells whether a path relative to the folder matches; with upper and lower case."""
        return _regex(self.rest).match


def extension_of(name: str) -> str:
    """What stands behind the last dot, with it."""
    return "".join(name.rpartition(".")[1:]) if "." in name else ""


@lru_cache(maxsize=4096)
def _regex(rest: tuple[str, ...]) -> re.Pattern[str]:
    text = "".join(
        rf"(?:{_VISIBLE}[^/]+/)*" if name == "**" else _name(name) + "/" for name in rest
    )
    return re.compile(text.removesuffix("/") + r"\Z")


def _name(name: str) -> str:
    """A regular expression of one name; a bracket that is not closed stands for itself."""
    text = "" if name.startswith(".") else _VISIBLE
    for part in re.findall(r"\*+|\?|\[!?\]?[^\]/]*\]|.", name, re.DOTALL):
        if part.startswith("*"):
            text += "[^/]*"
        elif part == "?":
            text += "[^/]"
        elif len(part) > 2 and part.startswith("["):
            inside = part[1:-1]
            negated = "^" if inside.startswith("!") else ""
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix("!"))
            text += f"(?!/)[{negated}{inside}]"
        else:
            text += re.escape(part)
    return text
