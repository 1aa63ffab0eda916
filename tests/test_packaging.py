"""The wheel: what another project installs."""

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import rayflow_dagster

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rayflow_dagster"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from a copy without network access."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed; it comes with the dev extra")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    _copy_package(source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    offline = ["--no-index", "--disable-pip-version-check", "--no-cache-dir"]
    done = subprocess.run(
        [*command, *offline, "--wheel-dir", str(folder), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield opened


def _copy_package(source: Path) -> None:
    for file in _package_files():
        target = source / "rayflow_dagster" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((PACKAGE / file).read_bytes())


def _package_files() -> set[Path]:
    files = (file for file in PACKAGE.rglob("*") if file.is_file())
    return {file.relative_to(PACKAGE) for file in files if "__pycache__" not in file.parts}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == {f"rayflow_dagster/{file.as_posix()}" for file in _package_files()}
    assert "rayflow_dagster/py.typed" in names
    assert "rayflow_dagster/nodes/logic/branch.py" in names


def test_the_metadata_names_licence_version_and_python(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(_dist_info(wheel, "METADATA"))

    assert metadata["Name"] == "rayflow-dagster"
    assert metadata["Version"] == rayflow_dagster.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert "Apache License" in _dist_info(wheel, "licenses/LICENSE")


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    scripts = _dist_info(wheel, "entry_points.txt")

    assert "rayflow-dagster = rayflow_dagster.cli:main" in scripts


def _dist_info(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


@pytest.mark.parametrize(
    ("package", "bound"),
    [
        ("dagster", "<1.14"),
        ("dagster-webserver", "<1.14"),
        ("dagster-postgres", "<0.30"),
        ("ray", "<2.61"),
        ("ray[default]", "<2.61"),
    ],
)
def test_packages_whose_private_parts_are_used_stop_at_the_next_minor(
    package: str, bound: str
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = [line for group in groups for line in group if line.startswith(f"{package}>=")]

    assert asked
    assert all(line.endswith(f",{bound}") for line in asked)
