"""Which node classes exist, read from source and never by importing.

A class is a node class when it is *defined* in a file under an allowed root and descends from
``RayflowNode``. Whatever is not found here is refused before anything is imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import rayflow_dagster.nodes as builtin_nodes
from rayflow_dagster.types import NodeMetadata

from .source import ClassSource, merged_metadata, read_module

BUILTIN_PACKAGE = "rayflow_dagster.nodes"
_BASE_CLASSES = frozenset({
    "rayflow_dagster.RayflowNode", "rayflow_dagster.node.RayflowNode", "rayflow.RayflowNode",
    "rayflow_dagster.control_node.ControlNode",
    "rayflow_dagster.control_node.RegionNode",
})  # fmt: skip
_PLAIN_BASES = _BASE_CLASSES | {"object", "abc.ABC"}
_MAX_BASES = 20


class _Base:
    """Stands for ``RayflowNode`` where the order of bases is found out."""


@dataclass(frozen=True, slots=True)
class NodeRoot:
    """A folder of node files and the package name that they are imported under."""

    package: str
    path: Path


BUILTIN_ROOT = NodeRoot(BUILTIN_PACKAGE, Path(builtin_nodes.__path__[0]).resolve())


@dataclass(frozen=True)
class NodeRegistry:
    """The node classes under ``roots``. Files are read when first asked for, then kept."""

    roots: tuple[NodeRoot, ...] = (BUILTIN_ROOT,)
    _modules: dict[str, Mapping[str, ClassSource]] = field(default_factory=dict, repr=False)
    _metadata: dict[str, NodeMetadata | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, roots: Sequence[NodeRoot]) -> "NodeRegistry":
        """The built-in nodes and those under ``roots``."""
        return cls((BUILTIN_ROOT, *(root for root in roots if root != BUILTIN_ROOT)))

    def find(self, class_path: str) -> ClassSource | None:
        """The node class at exactly ``class_path``, or None."""
        source = self._source(class_path)
        return source if source and self._is_node(source) else None

    def is_readable(self, class_path: str) -> bool:
        """Whether source alone tells the metadata of the class at ``class_path``."""
        lineage = self._lineage(class_path)
        bases = {base for ancestor in lineage for base in ancestor.bases}
        read = {ancestor.class_path for ancestor in lineage}
        is_each_readable = bool(lineage) and all(each.is_readable for each in lineage)
        return is_each_readable and bases <= _PLAIN_BASES | read

    def file_problem(self, class_path: str) -> str | None:
        """Why the file that would define the class cannot be read, if it is there."""
        module = class_path.rpartition(".")[0]
        file = self._file_of(module)
        try:
            read_module(file, module) if file else None
        except (SyntaxError, ValueError, OSError) as error:
            return f"its file {file} cannot be read: {type(error).__name__}: {error}"
        return None

    def metadata(self, class_path: str) -> NodeMetadata | None:
        """What the source says about the class, or None when it is not a node class here.

        Raises:
            ValueError: the class declares a port or constant wrongly.
        """
        if class_path not in self._metadata:
            lineage = self._lineage(class_path)
            self._metadata[class_path] = merged_metadata(lineage) if lineage else None
        return self._metadata[class_path]

    @cached_property
    def class_paths(self) -> tuple[str, ...]:
        """Every node class, built-in ones first."""
        found = (path for root in self.roots for path in self._paths_under(root))
        return tuple(dict.fromkeys(path for path in found if self.find(path)))

    @cached_property
    def files(self) -> Mapping[Path, str]:
        """File -> the class path of the first node class defined in it."""
        by_file: dict[Path, str] = {}
        for class_path in self.class_paths:
            source = self._source(class_path)
            if source:
                by_file.setdefault(source.file.resolve(), class_path)
        return by_file

    def root_of(self, class_path: str) -> NodeRoot | None:
        """The root whose package ``class_path`` lies under; the longest package wins."""
        hits = [root for root in self.roots if class_path.startswith(root.package + ".")]
        return max(hits, key=lambda root: len(root.package), default=None)

    def _source(self, class_path: str) -> ClassSource | None:
        module, _, name = class_path.rpartition(".")
        return self._module(module).get(name)

    def _module(self, module: str) -> Mapping[str, ClassSource]:
        if module not in self._modules:
            file = self._file_of(module)
            try:
                self._modules[module] = read_module(file, module) if file else {}
            except (SyntaxError, ValueError, OSError):
                self._modules[module] = {}  # file_problem tells why
        return self._modules[module]

    def _file_of(self, module: str) -> Path | None:
        root = self.root_of(module + ".")
        if root is None:
            return None
        parts = module[len(root.package) :].split(".")[1:]
        if not all(part.isidentifier() and part != "__init__" for part in parts):
            return None
        folder = root.path.joinpath(*parts)
        file = folder.with_suffix(".py") if parts else folder / "__init__.py"
        if not file.is_file():
            file = folder / "__init__.py"
        inside = file.is_file() and file.resolve().is_relative_to(root.path.resolve())
        return file if inside else None

    def _paths_under(self, root: NodeRoot) -> Iterator[str]:
        for file in sorted(root.path.rglob("*.py")):
            relative = file.relative_to(root.path).with_suffix("")
            parts = [part for part in relative.parts if part != "__init__"]
            if all(part.isidentifier() for part in parts):
                module = ".".join([root.package, *parts])
                yield from (f"{module}.{name}" for name in self._module(module))

    def _is_node(self, source: ClassSource) -> bool:
        seen, queue = {source.class_path}, list(source.bases)
        while queue and len(seen) <= _MAX_BASES:
            base = queue.pop(0)
            if base in _BASE_CLASSES:
                return True
            ancestor = self._source(base)
            if ancestor and base not in seen:
                seen.add(base)
                queue.extend(ancestor.bases)
        return False

    def _lineage(self, class_path: str) -> list[ClassSource]:
        """The node class and its ancestors under the roots in Python's order of them; none where
        there is no such order, so that the class cannot be made, or no such node class.
        """
        if self.find(class_path) is None:
            return []
        made: dict[str, type] = dict.fromkeys(_BASE_CLASSES, _Base) | {"object": object}
        try:
            order = self._made(class_path, made).__mro__
        except (TypeError, RecursionError):
            return []
        paths = {each: path for path, each in made.items()}
        found = (self._source(paths[each]) for each in order if each in paths)
        return [ancestor for ancestor in found if ancestor]

    def _made(self, class_path: str, made: dict[str, type]) -> type:
        """An empty class with the bases of the one at ``class_path``; Python knows their order.

        Raises:
            TypeError: there is no such order, or the class is its own ancestor.
        """
        if class_path not in made:
            source = self._source(class_path)
            made[class_path] = type(None)  # which no class can have for a base
            bases = [self._made(base, made) for base in source.bases] if source else []
            made[class_path] = type("Made", tuple(bases), {})
        return made[class_path]
