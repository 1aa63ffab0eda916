"""Bodies that are signed, as GitHub signs them, and that go to one input whole."""

import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from inbox.inbox_flows import INBOX, SECRET, Answered, Caller, Served, flow_of, serving, write_flow
from rayflow_dagster import FlowValidator
from rayflow_dagster.inbox import receiving, wrong_secrets
from rayflow_dagster.inbox.secret_file import parse_secrets

PUSHED, OTHER = "a-secret-of-pushed", "a-secret-of-another"
TEXT = f"{SECRET}\npushed: {PUSHED}\nother: {OTHER}\n"
PAYLOAD = {"ref": "refs/heads/main", "commits": [{"id": "1"}], "payload": 7}
BODY = json.dumps(PAYLOAD).encode()


def signature(secret: str, body: bytes = BODY) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def hooked(flows: Path, memory: DagsterInstance) -> Iterator[Served]:
    inputs: dict[str, Any] = {"payload": "dict", "branch": {"type": "str", "default": "main"}}
    write_flow(flows, "pushed", flow_of(inputs, {**INBOX, "body": "payload"}))
    write_flow(flows, "other", flow_of({}, INBOX))
    with serving(flows, memory, secrets=lambda: parse_secrets(TEXT)) as served:
        yield served


def sent(
    served: Served, signed: str, body: bytes = BODY, flow: str = "pushed", **headers: str
) -> Answered:
    hook = Caller(served.caller.port, None)
    return hook.post(flow, body, X_Hub_Signature_256=signed, **headers)


def waiting(served: Served) -> list[dict[str, Any]]:
    return [each.inputs for each in served.store.waiting("pushed", 10, 1_000_000)]


def test_the_signature_of_githubs_documentation() -> None:
    secrets = parse_secrets("It's-a-Secret-to-Everybody")
    assert not secrets.has_signed("sha256=", b"Hello, World!", "any")
    signed = signature("It's-a-Secret-to-Everybody", b"Hello, World!")
    assert secrets.has_signed(signed, b"Hello, World!", "any")
    assert not secrets.has_signed(signed, b"Hello, World?", "any")


@pytest.mark.parametrize("secret", [PUSHED, SECRET])
def test_a_signed_body_starts_the_flow_and_goes_to_one_input(hooked: Served, secret: str) -> None:
    answered = sent(hooked, signature(secret))

    assert answered.status == 202
    assert waiting(hooked) == [{"payload": PAYLOAD}]


@pytest.mark.parametrize(
    "signed",
    [
        signature(OTHER),
        signature("a-wrong-secret-of-tests"),
        signature(PUSHED, BODY + b" "),
        signature(PUSHED).removeprefix("sha256="),
        signature(PUSHED)[:-1],
        "sha1=" + hmac.new(PUSHED.encode(), BODY, hashlib.sha1).hexdigest(),
        "",
        "sha256=\u00e4",
    ],
)
def test_what_is_wrongly_signed_is_not_stored_and_counts_as_a_wrong_secret(
    hooked: Served,
    signed: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrong_secrets, "FREE", -16)  # the first wait is the longest
    first, second = sent(hooked, signed), sent(hooked, signed)

    assert first.status == 401
    assert "X-Hub-Signature-256" in first.body["error"]
    assert second.status == 429
    assert int(second.headers["retry-after"]) > 0
    assert waiting(hooked) == []
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["127.0.0.1 sent a wrong secret for POST '/flows/pushed'"] * 2
    assert sent(hooked, signature(PUSHED)).status == 202


def test_two_signatures_are_none(hooked: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hooked.caller.port, timeout=30)
    connection.putrequest("POST", "/flows/pushed")
    connection.putheader("Content-Length", str(len(BODY)))
    for signed in (signature(PUSHED), signature(OTHER)):
        connection.putheader("X-Hub-Signature-256", signed)
    connection.endheaders(BODY)
    assert connection.getresponse().status == 401
    connection.close()


def test_a_wrong_bearer_token_is_not_helped_by_a_signature(hooked: Served) -> None:
    assert sent(hooked, signature(PUSHED), Authorization=f"Bearer {OTHER}").status == 404
    assert sent(hooked, signature(PUSHED), Authorization="Bearer wrong").status == 401


def test_a_signature_is_for_starting_a_flow_alone(hooked: Served) -> None:
    hook = Caller(hooked.caller.port, None)
    for path in ("/flows", "/openapi.json", "/requests/x"):
        answered = hook.ask("GET", path, X_Hub_Signature_256=signature(SECRET, b""))
        assert answered.status == 401
    assert hook.ask("POST", "/flows/other", X_Hub_Signature_256=signature(OTHER, b"")).status == 202


def test_a_delivery_that_comes_again_is_the_same_request(hooked: Served) -> None:
    signed = signature(PUSHED)
    first = sent(hooked, signed, X_GitHub_Delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    again = sent(hooked, signed, X_GitHub_Delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    next_one = sent(hooked, signed, X_GitHub_Delivery="2")
    keyed = sent(hooked, signed, X_GitHub_Delivery="3", Idempotency_Key="2")

    assert (first.status, again.status, next_one.status, keyed.status) == (202, 200, 202, 200)
    assert again.body == first.body
    assert keyed.body == next_one.body
    assert len(waiting(hooked)) == 2


def test_a_signed_body_is_read_within_the_limits(
    hooked: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b'{"x": "' + b"x" * 1_000_000 + b'"}'
    assert sent(hooked, signature(PUSHED, large), large).status == 413
    monkeypatch.setattr(receiving, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(receiving, "UNREAD_SECONDS", 0.2)
    connection = http.client.HTTPConnection("127.0.0.1", hooked.caller.port, timeout=30)
    connection.putrequest("POST", "/flows/pushed")
    connection.putheader("X-Hub-Signature-256", signature(PUSHED))
    connection.putheader("Content-Length", str(len(BODY)))
    connection.endheaders(BODY[:10])
    assert connection.getresponse().status == 408
    connection.close()
    assert waiting(hooked) == []


def test_a_signed_body_must_be_json_all_the_same(hooked: Served) -> None:
    form = b"payload=%7B%7D"
    kind = "application/x-www-form-urlencoded"
    assert sent(hooked, signature(PUSHED, form), form, Content_Type=kind).status == 415
    assert sent(hooked, signature(PUSHED, b"[]"), b"[]").status == 400
    secret = b'{"a": {"$env": "HOME"}}'
    assert sent(hooked, signature(PUSHED, secret), secret).status == 422


def test_where_the_body_goes_is_told(hooked: Served, flows: Path) -> None:
    listed = {flow["name"]: flow for flow in hooked.caller.get("/flows").body["flows"]}
    assert listed["pushed"]["body"] == "payload"
    assert listed["order"]["body"] is None
    paths = hooked.caller.get("/openapi.json").body["paths"]
    content = paths["/flows/pushed"]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("inputs", "sensor"),
    [({"x": "dict"}, {}), ({"payload": "dict"}, {"inputs": {"payload": {}}})],
    ids=["not declared", "set by the sensor"],
)
def test_a_body_for_an_input_that_cannot_have_it_is_told(
    hooked: Served, flows: Path, inputs: dict[str, Any], sensor: dict[str, Any]
) -> None:
    write_flow(flows, "pushed", flow_of(inputs, {**INBOX, "body": "payload", **sensor}))

    answered = sent(hooked, signature(PUSHED))
    assert answered.status == 503
    assert "body 'payload'" in answered.body["error"]


@pytest.mark.parametrize(
    ("sensor", "told"),
    [
        ({"body": "payload"}, None),
        ({"body": "anything"}, None),
        ({"body": "paylod"}, "body 'paylod': START declares no such input"),
        ({"body": "payload", "inputs": {"payload": {}}}, "the sensor's inputs set it already"),
        ({"body": "branch"}, "body 'branch': START takes str, and what is sent is a dict"),
        ({"body": ""}, "sensors[0].body: "),
    ],
)
def test_the_validator_knows_which_input_can_have_the_body(
    sensor: dict[str, Any], told: str | None
) -> None:
    inputs: dict[str, Any] = {
        "payload": {"type": "dict[str, any]", "default": {}},
        "anything": {"type": "any", "default": None},
        "branch": {"type": "str", "default": "main"},
    }
    is_valid, problems = FlowValidator().validate(flow_of(inputs, {**INBOX, **sensor}))

    assert is_valid == (told is None), problems
    assert told is None or told in "; ".join(problems)


def test_an_input_that_nobody_can_give_is_told_where_the_body_goes_to_another() -> None:
    flow = flow_of({"payload": "dict", "n": "int"}, {**INBOX, "body": "payload"})
    is_valid, problems = FlowValidator().validate(flow)

    assert not is_valid
    assert len(problems) == 1
    assert "'n' (int) is missing" in problems[0]
