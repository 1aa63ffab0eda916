"""How node classes may be spelled in a flow, and which class path each spelling means.

- a class path: ``rayflow_dagster.nodes.math.add.AddNode``, ``nodes.text.word_count.WordCountNode``;
- a short name of a built-in: ``math.add``, ``logic.and``, ``start``, ``return``;
- the Rayflow editor's names: ``rayflow.nodes.math.add.MathAddNode``, or a file
  (``nodes/text/word_count.py``, an absolute path that ends in ``rayflow/nodes/math/add.py``).
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from .registry import BUILTIN_PACKAGE, BUILTIN_ROOT, NodeRegistry, NodeRoot

VIRTUAL_PREFIX = "virtual://variables/"


@lru_cache(maxsize=1)
def _aliases() -> Mapping[str, str]:
    registry = NodeRegistry((BUILTIN_ROOT,))
    return {alias: path for path in registry.class_paths for alias in _aliases_of(path)}


def _aliases_of(class_path: str) -> Iterator[str]:
    category, module, name = class_path.removeprefix(BUILTIN_PACKAGE + ".").split(".")
    stem = module.removesuffix("_")  # return_.py, because 'return' is a keyword
    yield f"{category}.{stem}"
    if category == "base":
        yield stem
    for file_stem in {stem, module}:
        for class_name in (name, category.capitalize() + name):
            yield f"rayflow.nodes.{category}.{file_stem}.{class_name}"


def short_name(class_path: str) -> str:
    """The shortest spelling of a built-in node class; any other class path unchanged."""
    return _short_names().get(class_path, class_path)


@lru_cache(maxsize=1)
def _short_names() -> Mapping[str, str]:
    shortest: dict[str, str] = {}
    for alias, path in _aliases().items():
        shortest[path] = min(shortest.get(path, alias), alias, key=len)
    return shortest


def short_names() -> list[str]:
    """The shortest spelling of every built-in node class."""
    return sorted(_short_names().values())


def names_class(spelling: str) -> bool:
    """Whether ``spelling`` has the form of a class's name, known or not; else it is a word for
    how an editor draws a node (``group``, ``stickyNote``).
    """
    dotted = spelling.split(".")
    return (
        spelling in _aliases()
        or spelling.endswith(".py")
        or spelling.startswith(VIRTUAL_PREFIX)
        or (len(dotted) > 1 and all(part.isidentifier() for part in dotted))
    )


def class_path_of(spelling: str, registry: NodeRegistry) -> str:
    """The class path that ``spelling`` means; unknown spellings come back unchanged."""
    if spelling.endswith(".py"):
        return _class_in_file(spelling.replace("\\", "/"), registry) or spelling
    return _aliases().get(spelling, spelling)


def _class_in_file(path: str, registry: NodeRegistry) -> str | None:
    parts = PurePosixPath(path.removesuffix(".py")).parts
    if parts[-4:-2] == ("rayflow", "nodes"):
        return _aliases().get(f"{parts[-2]}.{parts[-1]}")
    for root in registry.roots:
        # Joining an absolute path gives that path.
        file = _resolved(_top(root) / path)
        if file is not None and file in registry.files:
            return registry.files[file]
    return None


def _top(root: NodeRoot) -> Path:
    """The folder that holds the root's outermost package."""
    return root.path.parents[root.package.count(".")]


def _resolved(file: Path) -> Path | None:
    try:
        return file.resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        return None
