"""The project that flows belong to, and ``did you mean``."""

import pytest
from drawing import draw, node

from rayflow_dagster.errors import ProjectError
from rayflow_dagster.project import Project
from rayflow_dagster.suggest import MAX_CHOICES, Hints, did_you_mean, listed

NODE = "from rayflow_dagster import RayflowNode\nclass N(RayflowNode): ...\n"


@pytest.fixture
def folder(tmp_path):
    for package in ("nodes", "extra/more", "named"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "n.py").write_text(NODE)
    (tmp_path / "flows").mkdir()
    return tmp_path


def own_classes(project: Project) -> set[str]:
    return {
        path for path in project.registry.class_paths if not path.startswith("rayflow_dagster.")
    }


def test_the_nodes_package_and_those_that_the_settings_name_are_known(folder):
    (folder / "pyproject.toml").write_text('[tool.rayflow_dagster]\nnodes = ["extra.more"]\n')
    assert own_classes(Project.at(folder)) == {"nodes.n.N", "extra.more.n.N"}
    assert own_classes(Project.at(folder, ["named"])) == {
        "nodes.n.N",
        "extra.more.n.N",
        "named.n.N",
    }


def test_a_project_is_found_around_its_flows(folder):
    file = folder / "flows" / "x.json"
    file.touch()
    assert Project.around(file).root == folder / "flows"
    (folder / "definitions.py").touch()
    assert Project.around(file).root == folder
    assert Project.around(folder / "flows").root == folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool", "not readable as TOML"),
        ("[tool.rayflow_dagster]\nnode = []", "node: Extra inputs are not permitted"),
        ("[tool.rayflow_dagster]\nnodes = 5", "nodes: Input should be a valid list"),
        ("[tool]\nrayflow_dagster = 5", r"\[tool.rayflow_dagster\]"),
        (
            "[tool.rayflow_dagster.settings]\ndurable = 'no'",
            "settings: .*durable: input should be a valid boolean, not 'no'",
        ),
    ],
)
def test_wrong_settings_are_refused_with_the_file(folder, text, said):
    (folder / "pyproject.toml").write_text(text)
    with pytest.raises(ProjectError, match=rf"pyproject\.toml.*{said}"):
        Project.at(folder)


def test_a_flows_own_settings_win_over_the_projects(folder):
    (folder / "pyproject.toml").write_text(
        "[tool.rayflow_dagster.settings]\ndurable = false\nstorage = '/mnt/shared'\n"
    )
    validator = Project.at(folder).validator()
    flow = draw({"s": "start", "r": "return"}, "s > r")
    assert validator.validate(flow) == (True, [])
    assert validator.resolve(flow).settings == {"durable": False, "storage": "/mnt/shared"}
    flow["settings"] = {"durable": True}
    assert validator.resolve(flow).settings == {"durable": True, "storage": "/mnt/shared"}


def test_rules_see_the_projects_settings(folder):
    (folder / "pyproject.toml").write_text(
        "[tool.rayflow_dagster.settings]\nends = 'all_settled'\n"
    )
    nodes = {"s": "start", "x": node("math.add", values={"x": 1, "y": 2}), "r": "return"}
    flow = draw(nodes, "s > r, s > x")
    validator = Project.at(folder).validator()
    assert [finding.rule for finding in validator.check(flow)] == []
    flow["settings"] = {"ends": "first_return"}
    assert [finding.rule for finding in validator.check(flow)] == ["unawaited_nodes"]


def test_a_project_without_settings_has_the_defaults(folder):
    assert Project.at(folder).settings.allow_runtime_env is False
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert Project.at(folder).settings.nodes == []


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("valeu", ["value", "other"], "; did you mean 'value'?"),
        ("zzz", ["value"], ""),
        ("value", [], ""),
        ("a.b.WordCuont", ["x.y.z.WordCount"], "; did you mean 'x.y.z.WordCount'?"),
        ("value", [f"value{n}" for n in range(MAX_CHOICES + 1)], ""),
        ("v" * 1000, ["v" * 999], ""),
    ],
)
def test_a_close_name_is_suggested(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_the_first_wrong_names_of_a_flow_have_a_suggestion():
    hints = Hints(left=1)
    assert [hints.did_you_mean("valeu", ["value"]) for _ in range(2)] == [
        "; did you mean 'value'?",
        "",
    ]


def test_a_long_list_of_names_is_cut():
    assert listed([]) == "none"
    assert listed(["a"], ["b"]) == "a, b"
    assert listed([str(n) for n in range(5000)]).endswith("28, 29 and 4,970 more")
