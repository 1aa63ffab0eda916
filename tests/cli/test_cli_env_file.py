"""The ``.env`` file of the working folder, as every command of Dagster's reads it."""

import json
import os
from pathlib import Path

import pytest
from cli_flows import write_flow
from forked_pythons import ForkedPythons

RUN = ["-m", "rayflow_dagster", "run"]
NODE = """from rayflow_dagster import RayflowNode


class SizeNode(RayflowNode):
    outputs = {"size": int}
    KEY = ""

    def process(self):
        return {"size": len(self.KEY)}
"""


@pytest.fixture
def telling(project: Path) -> Path:
    """The project with a flow that gives the length of the secret SHOP_KEY."""
    (project / "nodes").mkdir()
    (project / "nodes" / "__init__.py").touch()
    (project / "nodes" / "size.py").write_text(NODE)
    secret = {"constantValues": {"KEY": {"$env": "SHOP_KEY"}}}
    flow = {
        "nodes": [
            {"id": "start", "type": "start", "data": {}},
            {"id": "size", "type": "nodes.size.SizeNode", "data": secret},
            {"id": "return", "type": "return", "data": {}},
        ],
        "edges": [
            {"source": "start", "target": "size", "type": "exec"},
            {"source": "size", "target": "return", "type": "exec"},
            {"source": "size", "target": "return", "sourceHandle": "size", "targetHandle": "size"},
        ],
    }
    write_flow(project / "flows" / "telling.json", flow)
    return project


@pytest.mark.ray
@pytest.mark.parametrize("direct", [[], ["--direct"]], ids=["recorded", "direct"])
def test_a_run_has_a_secret_that_stands_in_the_env_file_only(
    ray_session: None, telling: Path, pythons: ForkedPythons, direct: list[str]
):
    (telling / ".env").write_text("SHOP_KEY=twelve-chars\n")
    done = pythons.run([*RUN, "telling", "--json", *direct])

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["result"] == {"size": 12}


def test_validate_knows_what_stands_in_the_env_file(typed, telling: Path):
    before = typed("validate", "flows/telling.json")
    (telling / ".env").write_text("SHOP_KEY=twelve-chars\n")
    after = typed("validate", "flows/telling.json")

    assert "'SHOP_KEY' is not set" in before.stdout
    assert after.stdout == "flows/telling.json: ok\n"
    assert "SHOP_KEY" not in os.environ


def test_the_env_file_wins_over_the_environment_as_it_does_with_dagster(
    typed, telling: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DAGSTER_HOME", "relative, which is refused")
    (telling / ".env").write_text(f"DAGSTER_HOME={telling / 'home'}\n")
    visits = json.loads((telling / "flows" / "telling.json").read_text())
    visits["variables"] = [{"name": "visits", "type": "int", "default": 0, "scope": "flow"}]
    write_flow(telling / "flows" / "telling.json", visits)

    result = typed("variables", "telling", "--json")

    assert result.exit_code == 0, result.output
    assert (telling / "home").is_dir()


@pytest.mark.parametrize("content", [b"SHOP_KEY=\xff\n", b"SHOP_KEY=a\0b\n"])
def test_an_env_file_that_cannot_be_read_is_one_message(typed, telling: Path, content: bytes):
    (telling / ".env").write_bytes(content)
    result = typed("validate", "flows/telling.json")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {telling / '.env'} cannot be read: ")
    assert len(result.stderr.splitlines()) == 1
