import errno
import os
from pathlib import Path

import pytest

from rayflow_dagster.nodes.io.read_file import ReadFileNode
from rayflow_dagster.nodes.io.write_file import WriteFileNode
from rayflow_dagster.testing import run_node_locally


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder of a project, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_file_is_read_as_it_was_written(data):
    path = str(data / "new" / "folder" / "note.txt")
    assert run_node_locally(WriteFileNode, path=path, content="Zoë\n") == {"path": path}
    assert run_node_locally(ReadFileNode, path=path) == {"content": "Zoë\n"}


def test_the_encoding_is_the_constant(data):
    path, constants = data / "note.txt", {"ENCODING": "latin-1"}
    run_node_locally(WriteFileNode, path=str(path), content="ë", constants=constants)
    assert path.read_bytes() == b"\xeb"
    assert run_node_locally(ReadFileNode, path=str(path), constants=constants)["content"] == "ë"
    with pytest.raises(ValueError, match=r"is not text in utf-8 .*; set the constant ENCODING"):
        run_node_locally(ReadFileNode, path=str(path))


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(data):
    with pytest.raises(FileNotFoundError, match=rf"no file 'data/x.txt' in {data.parent}"):
        run_node_locally(ReadFileNode, path="data/x.txt")


def test_a_full_disk_leaves_the_old_file_whole(data, monkeypatch):
    path = data / "note.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_node_locally(WriteFileNode, path=str(path), content="new")
    assert [file.name for file in data.iterdir()] == ["note.txt"]
    assert path.read_text() == "old"


def test_text_that_the_encoding_lacks_leaves_the_old_file_whole(data):
    path = data / "note.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        run_node_locally(
            WriteFileNode, path=str(path), content="Zoë", constants={"ENCODING": "ascii"}
        )
    assert path.read_text() == "old"


def test_a_replaced_file_keeps_its_permissions(data):
    path = data / "note.txt"
    path.write_text("old")
    path.chmod(0o640)
    run_node_locally(WriteFileNode, path=str(path), content="new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_symbolic_link_stays_one(data):
    (data / "real.txt").write_text("old")
    link = data / "link.txt"
    link.symlink_to(data / "real.txt")
    run_node_locally(WriteFileNode, path=str(link), content="new")
    assert link.is_symlink()
    assert (data / "real.txt").read_text() == "new"


def test_a_folder_is_not_written_to(data: Path):
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        run_node_locally(WriteFileNode, path=str(data), content="x")


def test_a_file_that_is_too_long_is_refused_before_it_is_all_read_or_written(data):
    path, constants = data / "note.txt", {"MAX_BYTES": 3}
    with pytest.raises(ValueError, match="would be longer than 3 bytes"):
        run_node_locally(WriteFileNode, path=str(path), content="Zoë", constants=constants)
    assert not path.exists()
    path.write_text("Zoë")
    with pytest.raises(ValueError, match="is longer than 3 bytes"):
        run_node_locally(ReadFileNode, path=str(path), constants=constants)


@pytest.mark.parametrize(
    "path", ["nodes/evil.py", "data/../flows/x.json", "/etc/hosts", "data/.env"]
)
def test_only_files_of_the_data_folders_are_read_and_written(data, path):
    (data.parent / "flows").mkdir()
    for run in (
        lambda: run_node_locally(WriteFileNode, path=path, content="x"),
        lambda: run_node_locally(ReadFileNode, path=path),
    ):
        with pytest.raises(PermissionError, match=r"flows (may use files of|use no hidden files)"):
            run()
    assert not (data.parent / "nodes").exists()


def test_a_link_out_of_the_data_folders_is_not_followed(data, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (data / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match=r"'data/link/secret.txt' is .*/secret.txt, which"):
        run_node_locally(ReadFileNode, path="data/link/secret.txt")
