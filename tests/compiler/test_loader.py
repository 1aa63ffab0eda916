"""What a flow may name: exactly the node classes defined under the allowed roots."""

import sys
from pathlib import Path

import pytest
from drawing import draw, node
from shapes import load_fixture, test_loader

from rayflow_dagster import RayflowNode
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot
from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.errors import NodeLoadError
from rayflow_dagster.metadata import inspect_class

PROJECT = NodeRoot("nodes", Path(__file__).parents[2] / "nodes")
EVERY_CLASS = [*test_loader().registry.class_paths, *NodeRegistry((PROJECT,)).class_paths]

NODE = """
from rayflow_dagster import RayflowNode
class GoodNode(RayflowNode):
    '''Good.'''
    inputs = {"a": int}
    LIMIT = 3
"""


@pytest.fixture
def package(tmp_path, request):
    """Writes node files into a package of their own: ``{file: source}`` -> a loader for it."""
    name = f"pkg_{abs(hash(request.node.name))}"

    def write(files: dict[str, str]) -> NodeLoader:
        for file, source in {"__init__.py": "", **files}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.replace("PKG", name))
        write.name = name
        return NodeLoader(NodeRegistry.of([NodeRoot(name, tmp_path / name)]))

    write.folder = tmp_path / name
    path_before = list(sys.path)
    yield write
    sys.path[:] = path_before
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


@pytest.mark.parametrize("class_path", EVERY_CLASS)
def test_source_and_inspection_tell_the_same(class_path):
    loader = NodeLoader(NodeRegistry.of([*test_loader().registry.roots, PROJECT]))
    assert loader.registry.is_readable(class_path)
    inspected = inspect_class(loader.load_node_class(class_path), class_path)
    assert loader.registry.metadata(class_path) == inspected == loader.get_node_metadata(class_path)


def test_a_class_is_loaded_once_and_is_a_node(loader):
    loaded = loader.load_node_class("flow_nodes.identity.IdentityNode")
    assert issubclass(loaded, RayflowNode)
    assert loader.load_node_class("flow_nodes.identity.IdentityNode") is loaded
    assert loader.load_node_class("math.add").__name__ == "AddNode"


def test_all_metadata_of_a_flow_comes_by_class_path(loader):
    flow = draw({"s": "start", "x": "math.add", "y": "math.add", "r": "return"}, "")
    known = loader.load_all_metadata(flow)
    spelled = {
        "start": "rayflow_dagster.nodes.base.start.StartNode",
        "return": "rayflow_dagster.nodes.base.return_.ReturnNode",
        "math.add": "rayflow_dagster.nodes.math.add.AddNode",
    }
    assert set(known) == {*spelled, *spelled.values()}
    assert all(known[each["type"]] is known[spelled[each["type"]]] for each in flow["nodes"])


def test_the_metadata_of_an_export_answers_to_the_paths_that_it_has(loader):
    flow = load_fixture("editor_export")
    known = loader.load_all_metadata(flow)
    paths = [each["data"]["path"] for each in flow["flow"]["nodes"]]
    assert [known[path]["name"] for path in paths] == ["Start", "Add", "Add", "Return"]


@pytest.mark.parametrize(
    "class_path",
    [
        "json.codecs.builtins.exec",
        "os.system",
        "builtins.exec",
        "rayflow_dagster.cli.main",
        "rayflow_dagster.RayflowNode",
        "rayflow_dagster.node.RayflowNode",
        "rayflow_dagster.nodes.math.add.RayflowNode",  # imported there, not defined
        "rayflow_dagster.nodes.math.add.Any",
        "rayflow_dagster.nodes.logic.compare._COMPARE",  # defined there, but no node
        "rayflow_dagster.nodes.math.AddNode",
        "rayflow_dagster.nodes.math.add.AddNode.process",
        "rayflow_dagster.nodes.math.__init__.AddNode",
        "rayflow_dagster.nodes...cli.main",
        "flow_nodes.add.AddNode\n",
        "flow_nodes/../flow_nodes/add.AddNode",
        "..flow_nodes.add.AddNode",
        "flow_nodes",
        "",
        ".",
        "\0",
        "../../etc/passwd.py",
        "/etc/passwd",
        "flow_nodes/../../secret.py",
    ],
)
def test_what_no_root_defines_is_refused(loader, class_path):
    for ask in (loader.load_node_class, loader.get_node_metadata):
        with pytest.raises(NodeLoadError) as caught:
            ask(class_path)
        assert isinstance(caught.value, ImportError)
        assert caught.value.class_path == class_path


MARKER = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.mark.parametrize(
    "name", ["outside.Evil", "PKG.evil.helper", "PKG.evil.Evil", "PKG.evil.Good2"]
)
def test_nothing_is_imported_for_a_class_that_is_refused(package, monkeypatch, name):
    source = MARKER + "from PKG.good import GoodNode as Good2\ndef helper(): ...\nclass Evil: ...\n"
    loader = package({"good.py": NODE, "evil.py": source, "../outside.py": source})
    monkeypatch.syspath_prepend(package.folder.parent)
    class_path = name.replace("PKG", package.name)
    flow = draw({"s": "start", "x": class_path, "r": "return"}, "s > x, x > r")
    valid, errors = FlowValidator(loader).validate(flow)
    assert not valid
    assert "no such node class is defined" in errors[0]
    assert not list(package.folder.parent.rglob("*.ran"))


@pytest.mark.parametrize("path", ["../outside.py", "PKG/../../x/outside.py", "PKG/evil.py"])
def test_no_file_outside_the_registry_is_imported(package, path):
    loader = package({"evil.py": MARKER, "../outside.py": MARKER + NODE})
    drawn = {"type": "custom", "data": {"path": path.replace("PKG", package.name)}}
    flow = draw({"s": "start", "x": drawn, "r": "return"}, "s > x, x > r")
    assert not FlowValidator(loader).validate(flow)[0]
    assert not list(package.folder.parent.rglob("*.ran"))


def test_a_symbolic_link_out_of_the_root_is_not_followed(package):
    loader = package({"../outside.py": MARKER + NODE})
    (package.folder / "link.py").symlink_to(package.folder.parent / "outside.py")
    with pytest.raises(NodeLoadError, match="no such node class"):
        loader.load_node_class(f"{package.name}.link.GoodNode")


def test_metadata_is_read_without_running_the_file(package):
    loader = package({"good.py": MARKER + NODE})
    metadata = loader.get_node_metadata(f"{package.name}.good.GoodNode")
    assert metadata["inputs"] == {"a": "int"}
    assert metadata["constants"] == {"LIMIT": {"type": "int", "value": 3}}
    assert not list(package.folder.rglob("*.ran"))


def test_a_type_word_in_a_flow_imports_nothing(package, monkeypatch):
    loader = package({"../outside.py": MARKER + "class Thing: ..."})
    monkeypatch.syspath_prepend(package.folder.parent)
    flow = draw({"s": "start", "r": "return"}, "s > r, s.a - r.a")
    flow["nodes"][0]["data"] = {"inputs": {"a": "outside.Thing"}}
    flow["nodes"][1]["data"] = {"inputs": {"a": "outside.Other"}}
    assert not FlowValidator(loader).validate(flow)[0]
    assert not list(package.folder.parent.rglob("*.ran"))


def test_a_file_that_does_not_parse_is_refused_with_the_parsers_error(package):
    loader = package({"broken.py": "class X(\n"})
    with pytest.raises(
        NodeLoadError, match=r"broken\.py cannot be read: SyntaxError: '\(' was never"
    ):
        loader.load_node_class(f"{package.name}.broken.X")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_fails_to_import_is_refused_with_its_own_error(package, line, said):
    loader = package({"good.py": NODE + line})
    flow = draw({"s": "start", "x": f"{package.name}.good.GoodNode", "r": "return"}, "s > x, x > r")
    valid, errors = FlowValidator(loader).validate(flow)
    assert not valid
    assert f"node 'x': cannot load node class '{package.name}.good.GoodNode'" in errors[0]
    assert said in errors[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("inputs = [1]", "GoodNode.inputs must be a dict"),
        ("inputs = {'a': 'intt'}", "unknown type 'intt'"),
        ("inputs = {'a b': int}", "'a b' cannot be the name of a port"),
        ("inputs = {'self': int}", "'self' cannot be the name of a port"),
        ("outputs = {'exec_next': str}", "'exec_next' cannot be the name of a port"),
        ("exec_outputs = 'true'", "exec_outputs must be a tuple of names"),
        ("exec_outputs = 5", "exec_outputs must be a tuple of names"),
        ("ray_options = 5", "ray_options must be a dict"),
        ("resident = 'yes'", "GoodNode.resident must be True or False, not 'yes'"),
        ("resident = None", "resident must be True or False, not None"),
        ("resident_ttl = 0", "GoodNode.resident_ttl must be a number of seconds above 0, not 0"),
        ("resident_ttl = '60'", "resident_ttl must be a number of seconds"),
        ("resident_ttl = True", "resident_ttl must be a number of seconds"),
        ("resident_ttl = float('inf')", "resident_ttl must be a number of seconds"),
        ("inputs = {[]: int}", "fails to import"),
        ("from typing import Sequence\n    inputs = {'a': Sequence}", "Sequence is not a type"),
        ("from typing import Optional\n    inputs = {'a': Optional}", "Optional is not a type"),
    ],
)
def test_a_class_that_declares_itself_wrongly_is_refused(package, body, said):
    source = f"from rayflow_dagster import RayflowNode\nclass GoodNode(RayflowNode):\n    {body}\n"
    loader = package({"good.py": source})
    with pytest.raises(NodeLoadError, match=said.replace("(", r"\(")):
        loader.get_node_metadata(f"{package.name}.good.GoodNode")


TRICKY = """
import datetime as dt
import pathlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Union
from rayflow_dagster import RayflowNode
import rayflow_dagster.node
from .shared import Rows, Base, LIMITS

try:
    import pathlib as loose
except ImportError:
    loose = None
if dt:
    from decimal import Decimal as Loose
from json.decoder import JSONDecoder
from concurrent.futures import ThreadPoolExecutor
Number = int | float
Later = list
async def other(self): return {"exec_next": "exec_out"}

class GoodNode(RayflowNode):
    BODY
"""
SHARED = """
from rayflow_dagster import RayflowNode
Rows = list[dict]
LIMITS = {"a": 1}
class Base(RayflowNode):
    '''The base.'''
    inputs = {"a": int}
    outputs = {"b": Rows}
    A, B = 1, 2
    icon = "i"
    async def process(self, a): return {"exec_next": "x"}
"""


@pytest.mark.parametrize(
    "body",
    [
        "inputs = {'a': Path, 'b': pathlib.Path, 'c': dt.datetime, 'd': bytes}",
        "inputs = {'a': Any, 'b': Optional[int], 'c': Union[int, str], 'd': int | None}",
        "inputs = {'a': List[int], 'b': Dict[str, Any], 'c': list, 'd': List}",
        "inputs = {'a': dict[str, list]}",
        "inputs = {'a': Number}",
        "inputs = {'a': Rows}",
        "inputs = {'a': {'type': int, 'default': LIMITS['a']}}",
        "inputs = {'a': {'type': int, 'default': -1, 'description': 'd'}}",
        "inputs = {**Base.inputs, 'b': int}",
        "inputs = {'a': 'list[int]', 'b': 'str | None'}",
        "inputs = dict(a=int)",
        "LIMITS = LIMITS\n    X = [LIMITS]\n    Y = 3 * 4\n    Z: int = 5\n    W: int",
        "A, B = 1, 2",
        "A = B = 1",
        "A = None\n    _B = 1\n    C2 = (1, 2)\n    D = {1}\n    E = b'x'\n    f = 1",
        "def GET(self): ...\n    class INNER: ...\n    PROP = property(str)",
        "if True:\n        A = 1",
        "exec_outputs = ('a', 'b')\n    def process(self): return {'exec_next': 'a'}",
        "exec_outputs = ['a', 'b']\n    def process(self): return {'exec_next': ['a', 'b']}",
        "ray_options = {'num_cpus': 0.5}\n    resident = True\n    description = 'd'",
        "resident = False\n    resident_ttl = 90",
        "resident = not False\n    resident_ttl = 60 * 60.0",
        "exec_input = False\n    exec_output = False",
        "inputs = {'a': int}\n    inputs.update(b=str)",
        "inputs = {'a': int}\n    seen = inputs.pop('a')",
        "inputs = {'a': int}\n    def helper(self, x=inputs.pop('a')): ...",
        "process = other",
        "inputs = {'a': loose.Path}",
        "inputs = {'a': Loose}",
        "int = str\n    inputs = {'a': int}",
        "inputs = {'a': Later}",
        "inputs = {'a': JSONDecoder, 'b': ThreadPoolExecutor}",
        "LIMIT = 1\n    def LIMIT(self): ...",
        "__slots__ = ('LIMIT',)",
        "pass",
        '"""\n     One.\n\n       Two.\n    """',
    ],
)
def test_what_source_cannot_tell_is_told_by_inspection(package, body):
    loader = package({"good.py": TRICKY.replace("BODY", body), "shared.py": SHARED})
    path = f"{package.name}.good.GoodNode"
    assert loader.get_node_metadata(path) == inspect_class(loader.load_node_class(path), path)


@pytest.mark.parametrize(
    "bases",
    [
        "Base",
        "Mixin, Base",
        "Base, Mixin",
        "rayflow_dagster.node.RayflowNode",
        "Mixin, RayflowNode",
        "make()",
    ],
)
def test_inheritance_is_followed(package, bases):
    source = TRICKY.replace("class GoodNode(RayflowNode)", f"class GoodNode({bases})")
    extra = "class Mixin:\n    C = 1\ndef make(): return Base\n\nclass GoodNode"
    loader = package(
        {
            "good.py": source.replace("class GoodNode", extra, 1).replace("BODY", "D = 2"),
            "shared.py": SHARED,
        }
    )
    path = f"{package.name}.good.GoodNode"
    if bases == "make()":  # nobody can tell from its source that this is a node
        with pytest.raises(NodeLoadError):
            loader.get_node_metadata(path)
    else:
        assert loader.get_node_metadata(path) == inspect_class(loader.load_node_class(path), path)


def test_two_projects_may_have_packages_of_one_name(tmp_path):
    paths = list(sys.path)
    for folder, limit in (("one", 1), ("two", 2)):
        (tmp_path / folder / "twin").mkdir(parents=True)
        (tmp_path / folder / "twin" / "__init__.py").touch()
        (tmp_path / folder / "twin" / "good.py").write_text(NODE.replace("3", str(limit)))
    for folder, limit in (("one", 1), ("two", 2)):
        loader = NodeLoader(NodeRegistry.of([NodeRoot("twin", tmp_path / folder / "twin")]))
        assert limit == loader.load_node_class("twin.good.GoodNode").LIMIT
    sys.path[:] = paths


def test_built_in_nodes_have_short_names():
    assert short_name("rayflow_dagster.nodes.base.start.StartNode") == "start"
    assert short_name("rayflow_dagster.nodes.math.add.AddNode") == "math.add"
    assert short_name("flow_nodes.add.AddNode") == "flow_nodes.add.AddNode"


def test_without_a_registry_the_nodes_of_the_working_folder_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {root.package for root in NodeLoader().registry.roots} == {"rayflow_dagster.nodes"}
    (tmp_path / "nodes").mkdir()
    assert {root.package for root in NodeLoader().registry.roots} == {
        "rayflow_dagster.nodes",
        "nodes",
    }


def test_a_class_that_is_changed_from_elsewhere_is_a_finding(package):
    other = "from PKG.good import GoodNode\nGoodNode.inputs['b'] = str\n"
    source = NODE + "    def process(self, a): return {}\nimport PKG.other\n"
    loader = package({"good.py": source, "other.py": other})
    kind = node(f"{package.name}.good.GoodNode", values={"a": 1})
    flow = draw({"s": "start", "x": kind, "r": "return"}, "s > x, x > r")
    _, (error,) = FlowValidator(loader).validate(flow)
    assert "something changes the class" in error
    assert "inputs: {'a': 'int'} read, {'a': 'int', 'b': 'str'} imported" in error
