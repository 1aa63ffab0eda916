"""Where a server is to listen in; whether it can, how it is reached, and by whom, out."""

import socket
from ipaddress import ip_address

from .terminal import say

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError:
        return False
    return True


def free_port(host: str) -> int:
    """A port at which a server could listen."""
    with socket.create_server((host, 0), family=_family(host)) as probe:
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """The URL at which this machine reaches a server that listens at ``host``."""
    reached = _EVERY_ADDRESS.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def warn_if_open(host: str, danger: str) -> None:
    """Say so where other machines reach what listens at ``host``: a name or an address."""
    if any(not _is_own(address) for address in _addresses(host)):
        say(f"Warning: {host} can be reached from other machines, {danger}", err=True)


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []  # nothing can listen there
    return [str(address[0]) for *_, address in found]


def _is_own(address: str) -> bool:
    return ip_address(address.partition("%")[0]).is_loopback


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
