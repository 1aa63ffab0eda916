"""``rayflow-dagster inbox``: the endpoint that takes requests to start flows over HTTP."""

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.triggers.inbox_sensor import inbox_folder
from rayflow_dagster.inbox.app import build_app
from rayflow_dagster.inbox.endpoint import Endpoint, Limits
from rayflow_dagster.inbox.flows import InboxFlows
from rayflow_dagster.inbox.serve import address_of, build_server, listen
from rayflow_dagster.inbox.store import RequestStore
from rayflow_dagster.project import Project

from .flows import FLOWS
from .group import Refused
from .home import use_home
from .inbox_runs import DagsterRuns
from .recorded import open_instance
from .terminal import say

SECRET = "RAYFLOW_INBOX_SECRET"
LEAST_SECRET = 16
_MAKE_ONE = "for example: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True, slots=True)
class InboxOptions:
    """What was typed."""

    host: str
    port: int
    secret_file: str | None
    flows: str | None
    limits: Limits


def options_of(
    *, max_body: int, max_waiting: int, rate: float, keep: int, **where: Any
) -> InboxOptions:
    """The options, as the command has them."""
    limits = Limits(max_body, max_waiting, rate, keep * 24 * 3600.0)
    return InboxOptions(**where, limits=limits)


def serve_inbox(options: InboxOptions) -> None:
    """Take requests until told to stop.

    Raises:
        Refused: there is no secret or no folder of flows, or the address cannot be had.
    """
    secret = read_secret(options.secret_file)
    folder = _flows_folder(options.flows)
    project = Project.around(folder)
    with _listening(options.host, options.port) as listening:
        _warn_if_open(listening)
        with (
            open_instance(use_home(project.root)) as instance,
            RequestStore(inbox_folder(instance, project.root)) as store,
        ):
            flows = InboxFlows(folder, job_name)
            table = flows.current()
            endpoint = Endpoint(store, flows, DagsterRuns(instance), options.limits)
            server = build_server(build_app(endpoint, secret, options.limits))
            names = ", ".join(sorted(table.takes)) or "none yet"
            say(f"taking requests at {address_of(listening)} for the flows: {names}")
            server.run(sockets=[listening])


def read_secret(file: str | None) -> str:
    """The secret that callers must send.

    Raises:
        Refused: there is none, or it is not fit to be one.
    """
    if file is not None:
        where = f"--secret-file {file}"
        secret = Path(file).read_text(encoding="utf-8", errors="replace").strip()
        if Path(file).stat().st_mode & 0o077:
            say(f"Warning: {file} can be read by other users; chmod 600 it", err=True)
    else:
        where = SECRET
        secret = os.environ.get(SECRET, "").strip()
    if not secret:
        raise Refused(f"{where} has no secret; set {SECRET} or give --secret-file, {_MAKE_ONE}")
    if len(secret) < LEAST_SECRET or not re.fullmatch(r"[!-~]+", secret):
        raise Refused(
            f"the secret of {where} must have {LEAST_SECRET} or more visible ASCII characters and "
            f"no space; make one, {_MAKE_ONE}"
        )
    return secret


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


def _warn_if_open(listening: socket.socket) -> None:
    host = listening.getsockname()[0]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        say(
            f"Warning: {host} can be reached from other machines, and the secret and the inputs "
            "travel in plain text; put a proxy with TLS in front, and let only it in",
            err=True,
        )
