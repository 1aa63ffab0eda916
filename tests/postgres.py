"""A PostgreSQL server for tests, on a socket of its own."""

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
# Debian keeps the server's commands off the path.
FOLDERS = [os.environ["PATH"], *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]


def _command(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join(FOLDERS))


class Server:
    """A server in a folder of its own; ``url`` is that of its database."""

    def __init__(self, folder: Path) -> None:
        self.url = f"postgresql+psycopg2://tests@/postgres?host={folder}"
        self._folder = folder
        self._as_other: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            self._as_other = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            shutil.chown(folder, NOBODY, NOBODY)
        self._run("initdb", "-U", "tests", "--auth=trust", "--no-sync")

    def start(self) -> None:
        place = f"-c listen_addresses='' -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-o", f"{place} -c fsync=off", "-l", log, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        log = subprocess.DEVNULL  # the server would hold a pipe open
        data = str(self._folder / "data")
        command = [*self._as_other, _command(name) or name, "-D", data, *arguments]
        subprocess.run(command, check=True, cwd=self._folder, stdout=log, stderr=log)


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A server that is up; it is stopped at the end, and has to be up then. Skips the test where
    there is none.
    """
    if _command("initdb") is None:
        pytest.skip("PostgreSQL is not installed: on Debian, apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="rfpg-", dir="/tmp"))  # a socket's path must be short
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
