"""``rayflow-dagster init`` and ``new-node``: files for an author to start from."""

import importlib.util
import keyword
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rayflow_dagster.compiler.registry import NodeRoot
from rayflow_dagster.project import DEFAULT_PACKAGE, Project
from rayflow_dagster.values.stored import write_whole

from .flows import shown
from .group import Refused
from .templates import KEPT, PROJECT, PYTEST_SETTINGS, node_source, node_test_source
from .terminal import say

_PYTEST_FILES = ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "conftest.py")


def init_project(folder: str) -> None:
    """Write a new project with one node and one flow.

    Raises:
        Refused: one of its files is there already, other than ``KEPT``, or cannot be written.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise Refused(f"{folder} is a file, not a folder; name a new folder, or an empty one")
    kept = [name for name in KEPT if (root / name).is_file()]
    contents = {root / name: text for name, text in PROJECT.items() if name not in kept}
    if "pyproject.toml" in kept:
        contents |= _pytest_settings(root)
    _tell_written(write_new(contents))
    say("\nNow try:")
    if root.resolve() != Path.cwd():
        say(f"  cd {shlex.quote(str(folder))}")
    say("  rayflow-dagster run hello -i name=Ada")
    say("  rayflow-dagster dev")
    _say_pytest("")


@dataclass(frozen=True, slots=True)
class NewNode:
    """Where a node that is to be written belongs. ``inside`` is its path under its root."""

    root: NodeRoot
    file: Path
    inside: tuple[str, ...]

    @property
    def module(self) -> str:
        return ".".join([self.root.package, *self.inside])

    @property
    def class_name(self) -> str:
        words = self.file.stem.strip("_").split("_")
        name = "".join(word[:1].upper() + word[1:] for word in words)
        return name if name.endswith("Node") else f"{name}Node"

    @property
    def category(self) -> str:
        return self.inside[-2] if len(self.inside) > 1 else self.root.package.rpartition(".")[2]


def write_node(path: str) -> None:
    """Write a node's file, its test, and every ``__init__.py`` that is missing above it.

    Raises:
        Refused: the path is no place for a node, or a file is there already.
    """
    project = _project_of(Path(path))
    node = place_node(project, path)
    test = _test_file(project, node)
    contents = {
        node.file: node_source(node.class_name, node.category),
        test: node_test_source(node.module, node.class_name),
    }
    contents |= dict.fromkeys(_missing_packages(project, node), "")
    contents |= _pytest_settings(project.root)
    _tell_written(write_new(contents))
    say(f"\nIn a flow its type is {node.module}.{node.class_name}. Its test runs with:")
    if project.root != Path.cwd():
        say(f"  cd {shown(project.root)}")
    _say_pytest(f" {test.relative_to(project.root)}")


def _say_pytest(arguments: str) -> None:
    """What runs tests; first what installs pytest, which does not come with this package."""
    if importlib.util.find_spec("pytest") is None:
        say("  pip install pytest")
    say(f"  python -m pytest{arguments}")


def place_node(project: Project, path: str) -> NewNode:
    """What the node file ``path`` will be.

    Raises:
        Refused: it is no Python file, no legal name, or outside the project's node packages.
    """
    file = Path(path)
    if file.suffix != ".py":
        raise Refused(f"{path} is no Python file; name it like {DEFAULT_PACKAGE}/text/shout.py")
    roots = _node_roots(project)
    root = next((root for root in roots if _is_inside(file, root.path)), None)
    if root is None:
        listed = ", ".join(f"{shown(root.path)}/" for root in roots)
        raise Refused(
            f"{path} is outside this project's node packages, where no flow would find it; "
            f"put it under {listed}, or list its package in pyproject.toml under "
            "[tool.rayflow_dagster] nodes"
        )
    inside = file.resolve().relative_to(root.path.resolve()).with_suffix("").parts
    _check_names(path, inside)
    return NewNode(root, root.path.joinpath(*inside).with_suffix(".py"), inside)


def write_new(contents: Mapping[Path, str]) -> list[Path]:
    """Write every file, or none: what was written is removed when one cannot be.

    Raises:
        Refused: one is there already, or cannot be written.
    """
    there = [shown(file) for file in contents if file.exists() or file.is_symlink()]
    if there:
        verb = "are" if len(there) > 1 else "is"
        raise Refused(f"{', '.join(there)} {verb} there already; nothing was written")
    made = [folder for file in contents for folder in _missing_folders(file.parent)]
    written: list[Path] = []
    try:
        for file, text in contents.items():
            write_whole(file, text.encode(), for_users=True)
            written.append(file)
    except OSError as error:
        _remove(written, dict.fromkeys(made))
        where = error.filename or "the disk"
        raise Refused(f"{where}: {error.strerror}; nothing was written") from error
    return written


def _remove(files: Iterable[Path], folders: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in sorted(folders, reverse=True):  # the deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _missing_folders(folder: Path) -> list[Path]:
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _tell_written(files: Iterable[Path]) -> None:
    for file in sorted(files):
        say(f"wrote {shown(file)}")


def _project_of(file: Path) -> Project:
    """The project around the working folder, or the one around ``file`` if it is that one's."""
    here = Project.around(Path.cwd())
    there = Project.around(_nearest_folder(file))
    is_there = any(_is_inside(file, root.path) for root in _node_roots(there))
    return there if is_there else here


def _node_roots(project: Project) -> list[NodeRoot]:
    """The packages that nodes may be written to, whether they exist yet or not."""
    packages = [DEFAULT_PACKAGE, *project.settings.nodes]
    return [NodeRoot(name, project.root.joinpath(*name.split("."))) for name in packages]


def _nearest_folder(path: Path) -> Path:
    """The nearest folder above ``path`` that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve()) and file.resolve() != folder.resolve()


def _check_names(path: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        if not part.isidentifier() or keyword.iskeyword(part) or part.startswith("__"):
            why = "a word of Python's own" if keyword.iskeyword(part) else "no legal Python name"
            raise Refused(f"{path}: '{part}' is {why}; use letters, digits and _, as in word_count")
    if not parts[-1].strip("_"):
        raise Refused(f"{path}: '{parts[-1]}' has no letter to name a class after")


def _missing_packages(project: Project, node: NewNode) -> list[Path]:
    """The ``__init__.py`` files that the node's module needs and that are not there."""
    folders = [node.file.parent, *node.file.parent.parents]
    within = folders[: folders.index(project.root)]
    return [file for folder in within if not (file := folder / "__init__.py").exists()]


def _test_file(project: Project, node: NewNode) -> Path:
    """``nodes/text/shout.py`` is tested by ``tests/nodes/text/test_shout.py``."""
    relative = node.file.relative_to(project.root)
    return project.root / "tests" / relative.parent / f"test_{node.file.name}"


def _pytest_settings(root: Path) -> dict[Path, str]:
    """The file by which pytest finds the nodes of a project that has no settings for it."""
    pyproject = root / "pyproject.toml"
    told = pyproject.is_file() and "[tool.pytest" in pyproject.read_text(encoding="utf-8")
    if told or any((root / name).is_file() for name in _PYTEST_FILES):
        return {}
    return {root / "pytest.ini": PYTEST_SETTINGS}
