"""The README's table of dependencies. What else it shows is checked in ``test_docs.py``."""

import re
import tomllib

from docs_blocks import ROOT


def test_every_dependency_is_in_the_table_and_has_an_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!~;\[ ]", item)[0] for item in wanted}
    table = (ROOT / "README.md").read_text().partition("## Dependencies")[2]
    constraints = (ROOT / "constraints.txt").read_text()
    exact = set(re.findall(r"^([\w.-]+)==[\w.]+$", constraints.lower(), re.MULTILINE))

    assert [name for name in names if not re.search(rf"\b{name}\b", table)] == []
    assert names <= exact
    assert "://" not in constraints
    assert "--" not in constraints
