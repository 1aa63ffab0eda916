"""``NodeLoader``: class path in, node class and its metadata out."""

import importlib
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from rayflow_dagster.errors import NodeLoadError, describe
from rayflow_dagster.metadata import difference, inspect_class
from rayflow_dagster.node import RayflowNode
from rayflow_dagster.suggest import did_you_mean
from rayflow_dagster.types import FlowData, NodeMetadata

from .registry import BUILTIN_ROOT, NodeRegistry, NodeRoot
from .spelling import class_path_of, names_class, short_names


@lru_cache(maxsize=1)
def builtin_registry() -> NodeRegistry:
    """The built-in nodes alone."""
    return NodeRegistry((BUILTIN_ROOT,))


class NodeLoader:
    """Loads node classes and their metadata from the roots that ``registry`` allows.

    ``registry`` defaults to the built-in nodes and a ``nodes`` package in the working folder.
    """

    def __init__(self, registry: NodeRegistry | None = None) -> None:
        self.registry = registry if registry is not None else _registry_here()
        self._class_cache: dict[str, type] = {}
        self._metadata_cache: dict[str, NodeMetadata] = {}

    def load_node_class(self, class_path: str) -> type:
        """Load the node class at ``class_path`` (a short name or an editor's spelling will do).

        Raises:
            NodeLoadError: (an ``ImportError``) the class is not under the allowed roots, or its
                module fails to import; then the import's own error is its cause.
        """
        path = class_path_of(class_path, self.registry)
        if path not in self._class_cache:
            self._class_cache[path] = self._import(path)
        return self._class_cache[path]

    def get_node_metadata(self, class_path: str) -> NodeMetadata:
        """Metadata of a node class, read from its source; by inspection where that cannot tell.

        Raises:
            NodeLoadError: the class is not known, or declares its ports wrongly.
        """
        path = class_path_of(class_path, self.registry)
        if path not in self._metadata_cache:
            self._metadata_cache[path] = self._read_metadata(path)
        return self._metadata_cache[path]

    def _read_metadata(self, path: str) -> NodeMetadata:
        if self.registry.find(path) is None:
            raise self._unknown(path)
        try:
            metadata = self.registry.metadata(path) if self.registry.is_readable(path) else None
            return metadata or inspect_class(self.load_node_class(path), path)
        except ValueError as error:
            raise NodeLoadError(path, str(error)) from None

    def metadata_problem(self, class_path: str) -> str | None:
        """Where the class says something else when it is imported than its source does.

        Raises:
            NodeLoadError: as ``load_node_class`` and ``get_node_metadata``.
        """
        path = class_path_of(class_path, self.registry)
        read = self.get_node_metadata(path)
        try:
            found = difference(read, inspect_class(self.load_node_class(path), path))
        except ValueError as error:
            raise NodeLoadError(path, str(error)) from None
        if found is None:
            return None
        return (
            f"something changes the class {path} after its body is read ({found}); write its ports "
            "and constants as literals in the body"
        )

    def load_all_metadata(self, flow_data: FlowData) -> dict[str, NodeMetadata]:
        """Metadata of every node class in the flow: ``{class path: metadata}``. A class that the
        flow spells otherwise is there under that spelling too.

        Raises:
            NodeLoadError: as ``get_node_metadata``, for the first class that is not known.
        """
        from .dialect import class_spellings  # local: these spell class paths through this module
        from .flow import canonicalize

        paths = {node["type"] for node in canonicalize(flow_data, self.registry)["nodes"]}
        known = {path: self.get_node_metadata(path) for path in sorted(paths)}
        spelled = {
            spelling: known[path]
            for spelling in class_spellings(flow_data)
            if (path := class_path_of(spelling, self.registry)) in known
        }
        return known | spelled

    def _import(self, class_path: str) -> type:
        if self.registry.find(class_path) is None:
            raise self._unknown(class_path)
        module_name, _, name = class_path.rpartition(".")
        root = self.registry.root_of(class_path)
        try:
            module = import_under(root, module_name) if root else None
        except (Exception, SystemExit) as error:  # an author's module may fail in any way
            reason = f"its module fails to import: {describe(error)}"
            raise NodeLoadError(class_path, reason) from error
        found = getattr(module, name, None)
        if not (isinstance(found, type) and issubclass(found, RayflowNode)):
            raise NodeLoadError(class_path, f"its module has no RayflowNode class '{name}'")
        return found

    def _unknown(self, class_path: str) -> NodeLoadError:
        problem = self.registry.file_problem(class_path)
        if problem:
            return NodeLoadError(class_path, problem)
        # A word for how an editor draws a node (noteNode) is like many classes' names by chance.
        others = self.registry.class_paths if names_class(class_path) else ()
        roots = ", ".join(root.package for root in self.registry.roots)
        hint = did_you_mean(class_path, [*short_names(), *others])
        reason = f"no such node class is defined under the allowed packages ({roots}){hint}"
        return NodeLoadError(class_path, reason)


def _registry_here() -> NodeRegistry:
    folder = Path.cwd() / "nodes"
    return NodeRegistry.of([NodeRoot("nodes", folder)] if folder.is_dir() else [])


def import_under(root: NodeRoot, module_name: str) -> ModuleType:
    """Import a module of the project that ``root`` is a package of, before any of that name."""
    _drop_namesake(root)
    _put_first_on_path(root)
    return importlib.import_module(module_name)


def _drop_namesake(root: NodeRoot) -> None:
    """Forget an imported package of the same name that belongs to another project."""
    package = sys.modules.get(root.package)
    paths = [Path(entry).resolve() for entry in getattr(package, "__path__", [])]
    if package is None or root.path.resolve() in paths:
        return
    for name in list(sys.modules):
        if name == root.package or name.startswith(root.package + "."):
            del sys.modules[name]
    importlib.invalidate_caches()


def _put_first_on_path(root: NodeRoot) -> None:
    """Import from ``root`` first. It stays: node files may import their neighbours later."""
    top = root.path
    for _ in root.package.split("."):
        top = top.parent
    if root != BUILTIN_ROOT and str(top) not in sys.path[:1]:
        sys.path.insert(0, str(top))
