"""Patterns of paths: ``*``, ``?``, ``[...]`` inside a name, ``**`` for any folders."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rayflow_dagster.values.stored import local_or_url

_MAGIC = re.compile(r"[*?\[]")
_VISIBLE = r"(?!\.)"
_FOLDER = rf"(?:{_VISIBLE}[^/]++/)"


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
        scheme, mark, below = local_or_url(path).rpartition("://")
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
        return cls(os.path.abspath(root / start), rest)

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
    """What lies between two wildcards is found at its first place, and no other is tried (an atomic
    group): a later one leaves less for what follows. So matching takes a time linear in the path.
    """
    first, *others = _between([_name(name) + "/" if name != "**" else None for name in rest])
    text = "".join(first)
    for names in others[:-1]:
        text += rf"(?>{_FOLDER}*?{''.join(names)})"
    if others:
        text += rf"{_FOLDER}*?{''.join(others[-1])}"
    return re.compile(text.removesuffix("/") + r"\Z")


def _between(parts: Sequence[str | None]) -> list[list[str]]:
    """``parts`` cut at each None."""
    cut: list[list[str]] = [[]]
    for part in parts:
        if part is None:
            cut.append([])
        else:
            cut[-1].append(part)
    return cut


def _name(name: str) -> str:
    """A regular expression of one name."""
    visible = "" if name.startswith(".") else _VISIBLE
    tokens = re.findall(r"\*++|\?|\[!?\]?[^\]/]*\]|.", name, re.DOTALL)
    first, *others = _between([_one(token) for token in tokens])
    text = visible + "".join(first)
    for characters in others[:-1]:
        text += rf"(?>[^/]*?{''.join(characters)})"
    if others:
        text += rf"[^/]{{{len(others[-1])},}}+(?<={''.join(others[-1])})"
    return text


def _one(token: str) -> str | None:
    """A regular expression of one character; None for a wildcard of any number of them. A bracket
    that is not closed stands for itself.
    """
    if token.startswith("*"):
        return None
    if token == "?":
        return "[^/]"
    if len(token) > 2 and token.startswith("["):
        inside = token[1:-1]
        negated = "^" if inside.startswith("!") else ""
        inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix("!"))
        return f"(?!/)[{negated}{inside}]"
    return re.escape(token)
