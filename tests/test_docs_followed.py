"""Every shell block of the README and of the pages in ``docs/`` is typed, page by page.

A page is followed from top to bottom: what it says is a file is written, what it says is printed is
compared. What cannot be typed here is in ``NOT_TYPED``, with the reason.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docs_blocks import (
    OF_THE_REPOSITORY,
    PRINTED,
    ROOT,
    SHELL,
    TUTORIALS,
    Block,
    all_blocks,
    is_followed,
    make_targets,
    with_commands,
)
from forked_pythons import ForkedPythons

from rayflow_dagster.cli import main

_SERVER = "it goes on until Ctrl-C; tests/e2e start it"
_INSTALLS = "it installs from a package index"
_TESTS = "it runs tests, this one too"
_COMMITS = "it changes what git does in a checkout"
NOT_TYPED = {
    "make demo": _INSTALLS,
    "make dev": _SERVER,
    "make test": _TESTS,
    "make test-fast": _TESTS,
    "make lint": "`make test` runs it before the tests",
    "pip install -c constraints.txt .": _INSTALLS + "; tests/test_packaging.py builds the wheel",
    "python -m pytest tests/engine": _TESTS,
    "python -m pytest -m ray -n 3": _TESTS,
    "rayflow-dagster dev": _SERVER,
    "rayflow-dagster inbox --secret-file secrets.txt": "it goes on until Ctrl-C; tests/inbox do it",
    ".venv/bin/python -m pip install pre-commit": _INSTALLS,
    ".venv/bin/pre-commit install": _COMMITS,
}
PROGRAM = "rayflow-dagster"
FOR_THE_SHELL = frozenset("|&;<>()$`*?[]~!{}\n")
INBOX = f"{PROGRAM} inbox"
"""Goes on as well, and is what the other commands of its page talk to."""

WITH_SHELL = with_commands()
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".dagster", ".*_cache", "__pycache__", "*.egg-info", ".hypothesis"
)


def commands_of(text: str) -> list[str]:
    """Each command of a block: lines that belong together joined, comments cut."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [re.sub(r"\s+# .*", "", line).strip() for line in joined.splitlines() if line.strip()]


def test_only_what_a_page_shows_is_left_untyped():
    blocks = [block for page in WITH_SHELL for block in all_blocks(page) if block.language in SHELL]
    shown = {command for block in blocks for command in commands_of(block.text)}

    assert set(NOT_TYPED) - shown == set()
    assert [str(block) for block in blocks if block.not_run] == []  # the reason is in the table


def test_what_is_not_typed_exists():
    words = [command.split() for command in NOT_TYPED]

    assert {word for program, word, *_ in words if program == "make"} <= make_targets()
    assert {word for program, word, *_ in words if program == "rayflow-dagster"} <= {*main.commands}


class Typist:
    """Types the commands of a page in a shell whose folder and variables stay."""

    def __init__(self, folder: Path, pythons: ForkedPythons) -> None:
        self.folder = folder
        self._pythons = pythons
        self._state = folder.parent / "state"
        self.environment = environment()
        self._port = _free_port()
        self._servers: list[subprocess.Popen[bytes]] = []

    def type(self, block: Block) -> str:
        """What the commands of a block print."""
        printed = ""
        for command in commands_of(block.text):
            if command == INBOX:
                self._serve(f"{INBOX} --port {self._port}")
            elif command not in NOT_TYPED:
                printed += self._run(command.replace(":3001", f":{self._port}"), block)
        return printed

    def finds_nothing_in(self, flows: str, block: Block) -> None:
        """Check the flows of the project, in which ``block`` is now."""
        told = json.loads(self._run(f"rayflow-dagster validate {flows} --json", block))
        assert [file for file in told["files"] if file["findings"]] == [], block

    def _run(self, command: str, block: Block) -> str:
        if is_of_the_program_alone(command):
            done = typed(self._pythons, command, self.folder, self.environment)
            assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
            return done.stdout
        telling = f"pwd >'{self._state}'; env -0 >>'{self._state}'"
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", f"{command}\n{telling}"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
        folder, _, variables = self._state.read_text().partition("\n")
        self.folder = Path(folder)
        self.environment = dict(each.split("=", 1) for each in variables.split("\0") if each)
        return done.stdout

    def _serve(self, command: str) -> None:
        server = subprocess.Popen(command.split(), cwd=self.folder, env=self.environment)
        self._servers.append(server)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=10).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"{command} does not answer")

    def end(self) -> None:
        """End what still goes on."""
        for server in self._servers:
            server.terminate()
            server.wait()


def environment() -> dict[str, str]:
    """The variables of a shell in which the program was installed."""
    kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def is_of_the_program_alone(command: str) -> bool:
    """Whether a command has nothing in it that a shell would do."""
    return command.startswith(f"{PROGRAM} ") and not FOR_THE_SHELL.intersection(command)


def typed(
    pythons: ForkedPythons, command: str, folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What a command ``is_of_the_program_alone`` does."""
    program, *arguments = shlex.split(command)
    found = shutil.which(program, path=variables["PATH"])
    assert found is not None
    return pythons.run([found, *arguments], folder, variables)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, ray_session: None, pythons: ForkedPythons
) -> Path:
    """A project as the first page leaves one: its flow has run."""
    folder = tmp_path_factory.mktemp("first") / "project"
    for command, where in ((f"init {folder}", folder.parent), ("run hello", folder)):
        done = typed(pythons, f"{PROGRAM} {command}", where, environment())
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def typist(
    page: Path, tmp_path: Path, project: Path, ray_session: None, pythons: ForkedPythons
) -> Iterator[Typist]:
    folder = tmp_path / "here"
    typist = Typist(folder, pythons)
    if page.name in OF_THE_REPOSITORY:
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        (folder / ".venv/bin").mkdir(parents=True)
        shutil.copy(Path(sys.executable).with_name("activate"), folder / ".venv/bin")
    elif page in TUTORIALS:
        folder.mkdir()
    else:
        shutil.copytree(project, folder)
    yield typist
    typist.end()


@pytest.mark.ray
@pytest.mark.parametrize("page", WITH_SHELL, ids=lambda page: page.name)
def test_a_page_can_be_followed(page: Path, typist: Typist):
    printed = ""
    for block in all_blocks(page):
        if block.not_run:
            continue
        if block.language == PRINTED:
            assert lines_missing(block.text, printed) == [], f"{block}: not in\n{printed}"
        elif block.language in SHELL:
            printed = typist.type(block) or printed
        elif block.file is not None and is_followed(block):
            write(block, typist.folder / block.file)
            if block.language == "json":
                typist.finds_nothing_in("flows", block)


def write(block: Block, file: Path) -> None:
    """The file that a block is, or the flow file with the keys that it says belong in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = block.text
    if block.language == "json" and "nodes" not in json.loads(text) and file.is_file():
        text = json.dumps({**json.loads(file.read_text()), **json.loads(text)})
    file.write_text(text)


def lines_missing(text: str, printed: str) -> list[str]:
    """The lines of a page that a command did not print. Times and ids differ each time."""

    def plain(line: str) -> str:
        return re.sub(r"\d+(\.\d+)? m?s\b", "_", " ".join(line.split()))

    found = [plain(line) for line in printed.splitlines()]
    return [line for line in text.splitlines() if plain(line) not in found]
