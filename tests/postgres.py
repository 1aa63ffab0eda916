"""A PostgreSQL server for tests, on a socket of its own."""

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
# Debian keeps the server's commands off the path.
FOLDERS = [os.environ["PATH"], *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]


def _command(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join(FOLDERS))


def postgres_is_installed() -> bool:
    return _command("initdb") is not None


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a database of a server that is up for so long."""
    folder = Path(tempfile.mkdtemp(prefix="rfpg-", dir="/tmp"))  # a socket's path must be short
    as_other: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_other = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        shutil.chown(folder, NOBODY, NOBODY)

    def run(name: str, *arguments: str) -> None:
        log = subprocess.DEVNULL  # the server would hold a pipe open
        command = [*as_other, _command(name) or name, *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=log, stderr=log)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "tests", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg2://tests@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)
