"""``rayflow-dagster inbox``: the endpoint that takes requests to start flows over HTTP."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.triggers.inbox_sensor import inbox_folder
from rayflow_dagster.inbox.app import build_app
from rayflow_dagster.inbox.endpoint import Endpoint, Limits
from rayflow_dagster.inbox.flows import FlowTable, InboxFlows
from rayflow_dagster.inbox.secret_file import SecretFile, Secrets, parse_secrets
from rayflow_dagster.inbox.serve import build_server, listen
from rayflow_dagster.inbox.store import RequestStore
from rayflow_dagster.project import Project
from rayflow_dagster.suggest import did_you_mean

from .addresses import url_of, warn_if_open
from .flows import FLOWS
from .group import Refused
from .home import use_home
from .inbox_runs import DagsterRuns
from .recordings import open_instance
from .terminal import say

SECRET = "RAYFLOW_INBOX_SECRET"
_HELP = (
    f"set {SECRET} or give --secret-file, for example to what this prints: "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)
_OPEN = (
    "and the secret and the inputs travel in plain text; put a proxy with TLS in front, and let "
    "only it in"
)


def serve_inbox(
    limits: Limits, host: str, port: int, secret_file: str | None, flows: str | None
) -> None:
    """Take requests until told to stop.

    Raises:
        Refused: there is no secret or no folder of flows, or the address cannot be had.
    """
    secrets = secrets_of(secret_file)
    folder = _flows_folder(flows)
    project = Project.around(folder)
    with _listening(host, port) as listening:
        warn_if_open(listening.getsockname()[0], _OPEN)
        with (
            open_instance(use_home(project.root)) as instance,
            RequestStore(inbox_folder(instance, project.root)) as store,
        ):
            inbox_flows = InboxFlows(folder, job_name)
            table = inbox_flows.current()
            endpoint = Endpoint(store, inbox_flows, DagsterRuns(instance), limits)
            names = ", ".join(sorted(table.takes)) or "none yet"
            _warn_of_unknown(secrets(), table)
            url = url_of(*listening.getsockname()[:2])
            served = partial(say, f"taking requests at {url} for the flows: {names}")
            server = build_server(build_app(endpoint, secrets, limits), served)
            server.run(sockets=[listening])


def secrets_of(file: str | None) -> Callable[[], Secrets]:
    """What gives the secrets that are valid: of the file, or else of the environment.

    Raises:
        Refused: there is none, or one is not fit.
        OSError: the file cannot be read.
    """
    where = SECRET if file is None else f"--secret-file {file}"
    try:
        if file is None:
            secrets = parse_secrets(os.environ.get(SECRET, ""))
            return lambda: secrets
        secret_file = SecretFile(Path(file))
    except ValueError as error:
        raise Refused(f"{where}: {error}; {_HELP}") from error
    if Path(file).stat().st_mode & 0o077:
        say(f"Warning: {file} can be read by other users; chmod 600 it", err=True)
    return secret_file.current


def _warn_of_unknown(secrets: Secrets, table: FlowTable) -> None:
    known = {*table.takes, *table.broken}
    for name in sorted(secrets.names - known):
        near = did_you_mean(name, known)
        say(f"Warning: a secret is for '{name}', which takes no requests{near}", err=True)


def _flows_folder(named: str | None) -> Path:
    folder = Path(named) if named is not None else Project.around(Path.cwd()).root / FLOWS
    if not folder.is_dir():
        raise Refused(f"there is no folder of flows at {folder}; name one with --flows")
    return folder.resolve()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise Refused(
            f"cannot listen at {host} port {port}: {error.strerror or error}; "
            "give another --port (0 for any free one) or --host"
        ) from error
