"""Bodies that are refused, and how much of them is read."""

import contextlib
import http.client
import socket
from pathlib import Path

import pytest

from inbox.inbox_flows import INBOX, SECRET, Caller, Served, flow_of, write_flow
from rayflow_dagster.inbox import receiving

ORDER = {"customer": "Ada"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"customer": NaN}', "NaN is not a JSON value"),
        (b'{"customer": "a", "customer": "b"}', "stands twice"),
        (b'{"customer": "\xff"}', "not UTF-8"),
        (b'{"customer": "\\ud800"}', "half a character"),
        (b'{"customer": ' + b"[" * 60 + b"]" * 60 + b"}", "nested deeper than 50"),
        (b"[" * 200_000, "nested deeper than 50"),
        (b'{"customer": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(caller: Caller, body: bytes, told: str) -> None:
    answered = caller.post("order", body)

    assert answered.status == 400
    assert told in answered.body["error"]


def test_no_body_is_no_inputs(caller: Caller, flows: Path) -> None:
    write_flow(flows, "bare", flow_of({}, INBOX))

    assert caller.ask("POST", "/flows/bare").status == 202
    assert caller.ask("POST", "/flows/order").status == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "text/plain"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_a_body_must_be_declared_as_plain_json(caller: Caller, headers: dict[str, str]) -> None:
    answered = caller.post("order", ORDER, **headers)

    assert answered.status == 415
    assert "Content-Type: application/json" in answered.body["error"]


@pytest.mark.parametrize("size", [1_000_001, 5_000_000])
def test_a_large_body_is_refused_and_the_caller_gets_to_know(caller: Caller, size: int) -> None:
    answered = caller.post("order", b" " * size)

    assert answered.status == 413
    assert "1,000,000 bytes" in answered.body["error"]


def test_a_body_of_any_length_is_not_read_to_its_end(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.caller.port), timeout=30) as connection:
        connection.sendall(
            f"POST /flows/order HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1_000_000_000:
                connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                sent += 0x10000
    assert sent < 100_000_000


def test_a_huge_body_is_refused_before_it_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.caller.port), timeout=30) as connection:
        connection.sendall(
            f"POST /flows/order HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
            "Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(receiving, "UNREAD_SECONDS", 0.2)
    connection = http.client.HTTPConnection("127.0.0.1", served.caller.port, timeout=30)
    connection.putrequest("POST", "/flows/order")
    connection.putheader("Authorization", f"Bearer {SECRET}")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")

    assert connection.getresponse().status == 408
    connection.close()
