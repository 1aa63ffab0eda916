"""Whether the class of a ``poll`` sensor can be asked, told from its source."""

from pathlib import Path

import pytest

from rayflow_dagster.compiler.starts.poll_check import poll_problem

SOURCE = """
from elsewhere import Imported
from somewhere import base

class Good:
    def check(self, cursor): ...
class AsyncGood:
    def __init__(self, x=1): ...
    async def check(self, cursor, more=None): ...
class Inherits(base): ...
class NoCheck:
    def chek(self, cursor): ...
class NoCursor:
    def check(self): ...
class WantsMore:
    def check(self, cursor, more): ...
class NeedsArgument:
    def __init__(self, x): ...
    def check(self, cursor): ...
def function(cursor): ...
Assigned = base("Assigned")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    package = tmp_path / "nodes"
    package.mkdir()
    (package / "__init__.py").write_text("class InPackage:\n    def check(self, cursor): ...\n")
    (package / "shop.py").write_text(SOURCE)
    (package / "broken.py").write_text("class Good(:\n")
    return tmp_path


@pytest.mark.parametrize("name", ["Good", "AsyncGood", "Inherits", "Imported", "Assigned"])
def test_a_class_that_can_be_asked_or_may_be(root: Path, name: str) -> None:
    assert poll_problem(root, f"nodes.shop.{name}") is None


def test_a_class_may_stand_in_a_package_itself(root: Path) -> None:
    assert poll_problem(root, "nodes.InPackage") is None


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nodes.shopp.Good", "there is no module nodes.shopp in the project's folder"),
        ("os.path", "there is no module os in the project's folder"),
        ("nodes.shop.Goood", "nodes.shop has no class Goood; did you mean 'Good'"),
        ("nodes.shop.NoCheck", "class NoCheck has no method check(cursor)"),
        ("nodes.shop.NoCursor", "NoCursor.check must take the cursor"),
        ("nodes.shop.WantsMore", "WantsMore.check must take the cursor"),
        ("nodes.shop.NeedsArgument", "NeedsArgument() is made without arguments"),
        ("nodes.shop.function", "function is a function"),
        ("nodes.broken.Good", "nodes/broken.py line 1 is not Python"),
    ],
)
def test_what_cannot_be_asked_is_told(root: Path, path: str, told: str) -> None:
    assert told in (poll_problem(root, path) or "")
