"""The code blocks of the README and of the pages in ``docs/``.

A block that cannot be checked says why, in a comment on the line before it::

    <!-- not run: it goes on until Ctrl-C -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

SHELL = ("sh", "bash")
PRINTED = "text"
"""The language of what commands print, which is compared where a page is followed."""
TUTORIALS = [DOCS / "first-flow.md"]
"""Pages that are followed from top to bottom in a new folder."""
OF_THE_REPOSITORY = {
    "README.md",
    "CONTRIBUTING.md",
    "development.md",
    "install.md",
    "patterns.md",
    "variables.md",
}
"""Pages whose commands are typed in a copy of this repository; of the others, in a new project."""

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_FILE = re.compile(r"`([\w./-]+\.\w+)`:\s*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page."""

    page: Path
    line: int
    """Where it begins, counted from 1."""
    language: str
    text: str
    before: str
    """The paragraph that introduces it."""
    after: str
    """The paragraph that follows."""
    not_run: str
    """Why it is not checked; empty if it is."""

    @property
    def file(self) -> str | None:
        """The file whose content it is, when the line before it ends with the file's name."""
        found = _FILE.search(self.before)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def all_blocks(page: Path) -> list[Block]:
    """Every block of a page, in its order."""
    return list(_blocks(page))


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of these languages that are to be checked."""
    return [b for b in all_blocks(page) if b.language in languages and not b.not_run]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> set[str]:
    """What can stand behind ``#`` in a link to the page."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        before = text[: found.start()]
        reason = _NOT_RUN.search(before)
        lead = before[: reason.start()] if reason else before
        yield Block(
            page=page,
            line=before.count("\n") + 1,
            language=found[1].strip(),
            text=found[2],
            before=lead.rstrip().rpartition("\n\n")[2],
            after=text[found.end() :].strip().partition("\n\n")[0],
            not_run=" ".join(reason[1].split()) if reason else "",
        )


def with_commands() -> list[Path]:
    """The pages that have something to type."""
    return [page for page in PAGES if any(block.language in SHELL for block in all_blocks(page))]


def is_followed(block: Block) -> bool:
    """Whether it is a file that is written where its page is followed."""
    is_of_project = block.page.name not in OF_THE_REPOSITORY and block.page in with_commands()
    return is_of_project and block.file is not None


def make_targets() -> set[str]:
    """What ``make`` can be asked for."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
