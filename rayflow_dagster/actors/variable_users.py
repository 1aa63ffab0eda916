"""Whether any node but the variable nodes can touch a flow's variables, told from source.

If none can, the store needs no actor: it lives in the run's process, where variable nodes run.
"Can" is meant widely: the word `variables` in a node's module, or in any module of the project
that it imports, however indirectly.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.places import is_control
from rayflow_dagster.compiler.registry import BUILTIN_ROOT, NodeRoot
from rayflow_dagster.types import RETURN_CLASS, START_CLASS, ExecutionGraph, every_node

_WORD = re.compile(rb"variables", re.IGNORECASE)


def others_use_variables(graph: ExecutionGraph, loader: NodeLoader) -> bool:
    """Whether a node that is no variable node of ours can touch the variables."""
    classes = {node["class_path"] for node in every_node(graph).values()}
    classes -= {START_CLASS, RETURN_CLASS}
    seen: set[Path] = set()
    return any(
        _can_use(path, loader, seen) for path in sorted(classes) if not is_control(path, loader)
    )


def _can_use(class_path: str, loader: NodeLoader, seen: set[Path]) -> bool:
    root = loader.registry.root_of(class_path)
    if root == BUILTIN_ROOT:
        return False  # a test reads the built-in nodes for it
    source = loader.registry.find(class_path)
    if root is None or source is None or not loader.registry.is_readable(class_path):
        return True  # an ancestor whose source is not the project's may do anything
    return _mentions(source.file, source.module, _top_of(root), seen)


def _mentions(file: Path, module: str, top: Path, seen: set[Path]) -> bool:
    """Whether ``file``, or a project file that it imports, has the word."""
    queue = [(file, module)]
    while queue:
        file, module = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        try:
            text = file.read_bytes()
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
            return True
        if _WORD.search(text):
            return True
        is_package = file.name == "__init__.py"
        for name in _imported(tree, module, is_package):
            queue += _files_of(name, top)
    return False


def _imported(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Every module that might be imported; also names that only look like one."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                kept = parts[: len(parts) - node.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _files_of(name: str, top: Path) -> Iterator[tuple[Path, str]]:
    """The files below ``top`` that importing ``name`` runs: its packages' and its own."""
    parts = name.split(".")
    if not all(parts):
        return
    for count in range(1, len(parts) + 1):
        path = top.joinpath(*parts[:count])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file, ".".join(parts[:count])


def _top_of(root: NodeRoot) -> Path:
    """The folder that the root's package is imported from."""
    return root.path.parents[root.package.count(".")]
