"""Classes of every form that authors give them: source and inspection tell the same, or source says
that it cannot tell.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot
from rayflow_dagster.errors import NodeLoadError
from rayflow_dagster.metadata import inspect_class

IMPORTS = """
import abc
import datetime as dt
import pathlib
from decimal import Decimal
from typing import Any, Dict, List, Optional, Union
from rayflow_dagster import RayflowNode
"""
PLAIN = [
    "inputs = {'a': int, 'b': 'list[str]'}",
    "inputs = {'a': {'type': float, 'default': 1, 'description': 'd'}, 'p': pathlib.Path}",
    "outputs = {'x': Optional[int], 'y': Union[int, str], 'z': Dict[str, Any]}",
    "outputs: dict = {'x': list[int | None], 'd': dt.date, 'e': Decimal}",
    "LIMIT = 3",
    "LIMIT = ('a', -1)",
    "OTHER: float = 2.5",
    "OTHER = None",
    "exec_outputs = ('one', 'two')",
    "exec_output = False",
    "resident = True",
    "ray_options = {'num_cpus': 2}",
    "icon = 'i'",
    "def process(self, **given): return {'exec_next': 'one'}",
    "async def process(self, **given): return {'exec_next': ['one', 'two']}",
    "def helper(self): return self.inputs",
    "small = [1]",
    "pass",
]
ODD = [
    "inputs.update(more=str)",
    "inputs = {**{'s': str}}",
    "inputs['more'] = str",
    "seen = locals()",
    "seen = (LIMIT := 9)",
    "ports = inputs = {'q': int}",
    "process = other",
    "if True: LIMIT = 7",
    "for LIMIT in range(3): pass",
    "LIMIT += 1",
    "del LIMIT",
    "def LIMIT(self): ...",
    "class LIMIT: ...",
    "from math import pi as LIMIT",
    "__doc__ = 'said later'",
    "int = str",
    "inputs = {'a': int, 'b': Loose}",
    "inputs = {'a': loose.date, 'b': Decimal}",
    "outputs = dict(x=int)",
    "exec('LIMIT = 12')",
    "def __init_subclass__(cls): cls.LIMIT = 44",
]
OUTSIDE = [
    "try:\n    import datetime as loose\nexcept ImportError:\n    loose = None",
    "import datetime as loose",
    "Loose = list",
    "class Loose: ...",
    "Decimal = int",
    "from fractions import Fraction as Decimal",
    "if True:\n    int = str",
    "async def other(self): ...",
    "A.LIMIT = 99",
    "A.inputs = {'late': str}",
    "B = A",
    "def change(): A.OTHER = 5\nchange()",
    "from math import *",
]
BASES = ["RayflowNode", "A", "B", "C", "A, B", "B, A", "C, A", "A, RayflowNode", "RayflowNode, A",
         "abc.ABC, RayflowNode", "Mixin, A", "A, Mixin"]  # fmt: skip
NUMBERS = itertools.count()


@st.composite
def modules(draw: st.DrawFn, members: list[str], outside: list[str], bases: list[str]) -> str:
    """The text of a module with the classes A to D, each over earlier ones."""
    parts = [IMPORTS, "class Mixin:\n    LIMIT = 'mixin'"]
    for name in "ABCD":
        later = "ABCD"["ABCD".index(name) :]
        known = [each for each in bases if not {*later} & {*each.split(", ")}]
        body = draw(st.lists(st.sampled_from(members), max_size=4))
        parts += draw(st.lists(st.sampled_from(outside), max_size=1)) if outside else []
        lines = ['"""Text.\n\n      More.\n    """', *body]
        head = f"class {name}({draw(st.sampled_from(known))}):"
        parts.append("\n    ".join([head, *lines]))
    parts += draw(st.lists(st.sampled_from(outside), max_size=1)) if outside else []
    return "\n\n".join(parts) + "\n"


def _each_class(source: str) -> Iterator[tuple[NodeLoader, str]]:
    name = f"made_{next(NUMBERS)}"
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "dont_write_bytecode", True)
        (Path(folder) / name).mkdir()
        (Path(folder) / name / "nodes.py").write_text(source)
        loader = NodeLoader(NodeRegistry.of([NodeRoot(name, Path(folder) / name)]))
        for path in loader.registry.class_paths:
            if path.startswith(name):
                yield loader, path
        for module in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[module]


@given(modules(PLAIN + ODD, OUTSIDE, BASES))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_metadata_is_the_same_from_both_or_source_cannot_tell(source: str) -> None:
    for loader, path in _each_class(source):
        if not loader.registry.is_readable(path):
            continue
        try:
            loaded = loader.load_node_class(path)
        except NodeLoadError:
            continue  # another statement of the module fails
        read = loader.registry.metadata(path)
        assert read == inspect_class(loaded, path), source


@given(
    modules(PLAIN, [], [each for each in BASES if "Mixin" not in each and each != "RayflowNode, A"])
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_source_alone_tells_what_is_written_plainly(source: str) -> None:
    for loader, path in _each_class(source):
        try:
            loaded = loader.load_node_class(path)
        except NodeLoadError:
            return  # no order of its bases
        assert loader.registry.is_readable(path), source
        assert loader.registry.metadata(path) == inspect_class(loaded, path)


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from rayflow_dagster import RayflowNode\nexcept ImportError:\n    raise",
        "try:\n    from rayflow_dagster import RayflowNode\nexcept ImportError:\n"
        "    RayflowNode = object",
        "try:\n    from rayflow_dagster import RayflowNode\nfinally:\n    pass\nfrom math import *",
    ],
)
def test_a_class_whose_base_is_imported_in_a_try_is_a_node(text: str) -> None:
    found = dict(_found(f"{text}\nclass A(RayflowNode):\n    inputs = {{'x': int}}"))
    assert found == {"A": ["x"]}


def _found(source: str) -> Iterator[tuple[str, list[str]]]:
    for loader, path in _each_class(source):
        yield path.rpartition(".")[2], list(loader.get_node_metadata(path)["inputs"])
