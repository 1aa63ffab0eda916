import errno
import os
from pathlib import Path

import pytest

from rayflow_dagster.nodes.io.read_file import ReadFileNode
from rayflow_dagster.nodes.io.write_file import WriteFileNode
from rayflow_dagster.testing import run_node_locally


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = str(tmp_path / "new" / "folder" / "note.txt")
    assert run_node_locally(WriteFileNode, path=path, content="Zoë\n") == {"path": path}
    assert run_node_locally(ReadFileNode, path=path) == {"content": "Zoë\n"}


def test_the_encoding_is_the_constant(tmp_path):
    path, constants = tmp_path / "note.txt", {"ENCODING": "latin-1"}
    run_node_locally(WriteFileNode, path=str(path), content="ë", constants=constants)
    assert path.read_bytes() == b"\xeb"
    assert run_node_locally(ReadFileNode, path=str(path), constants=constants)["content"] == "ë"
    with pytest.raises(ValueError, match=r"is not text in utf-8 .*; set the constant ENCODING"):
        run_node_locally(ReadFileNode, path=str(path))


def test_a_missing_file_is_named_with_the_folder_it_was_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"no file 'data/x.txt' in {tmp_path}"):
        run_node_locally(ReadFileNode, path="data/x.txt")


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_node_locally(WriteFileNode, path=str(path), content="new")
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]
    assert path.read_text() == "old"


def test_text_that_the_encoding_lacks_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        run_node_locally(
            WriteFileNode, path=str(path), content="Zoë", constants={"ENCODING": "ascii"}
        )
    assert path.read_text() == "old"


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    path.chmod(0o640)
    run_node_locally(WriteFileNode, path=str(path), content="new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real.txt")
    run_node_locally(WriteFileNode, path=str(link), content="new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_folder_is_not_written_to(tmp_path: Path):
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        run_node_locally(WriteFileNode, path=str(tmp_path), content="x")
