"""Disks that are full or cannot be written to, for tests: real ones, which only root may mount."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """``mount`` with these arguments, at a folder that is made."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"disks cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def small_disk(folder: Path) -> contextlib.AbstractContextManager[Path]:
    """A disk of 8 MB."""
    return mounted(folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs")


def fill(disk: Path) -> Path:
    """Leave no byte free; returns the file that takes them."""
    filling = disk / "filling"
    with filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filling
