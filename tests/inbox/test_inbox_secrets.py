"""Several secrets: which flows each is for, and their change while the endpoint runs."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from forked_pythons import ForkedPythons

from inbox.inbox_flows import INBOX, Caller, Served, flow_of, serving, write_flow
from inbox.inbox_processes import started
from rayflow_dagster.inbox.secret_file import EVERYTHING, Granted, SecretFile, parse_secrets

ALL, OLD = "a-secret-for-all-flows", "an-old-secret-for-all"
ORDER, REFUND, BOTH = "a-secret-of-order-1", "a-secret-of-refund", "a-secret-of-these-two"
TEXT = f"""
# for everything, an old one and a new one
{OLD}
{ALL}
order: {ORDER}
refund:  {REFUND}
order: {BOTH}
refund: {BOTH}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text(TEXT)
    file.chmod(0o600)
    return file


@pytest.fixture
def shop(flows: Path, memory: DagsterInstance, file: Path) -> Iterator[Served]:
    write_flow(flows, "refund", flow_of({}, INBOX))
    (flows / "bad.json").write_text("{")
    with serving(flows, memory, secrets=SecretFile(file).current) as served:
        yield served


def with_secret(shop: Served, secret: str) -> Caller:
    return Caller(shop.caller.port, secret)


def names(caller: Caller) -> tuple[list[str], list[str]]:
    body = caller.get("/flows").body
    return [flow["name"] for flow in body["flows"]], list(body["broken"])


@pytest.mark.parametrize(
    ("secret", "listed"),
    [
        (ALL, (["order", "refund"], ["bad"])),
        (OLD, (["order", "refund"], ["bad"])),
        (ORDER, (["order"], [])),
        (REFUND, (["refund"], [])),
        (BOTH, (["order", "refund"], [])),
    ],
)
def test_a_secret_lists_and_describes_its_flows(
    shop: Served, secret: str, listed: tuple[list[str], list[str]]
) -> None:
    caller = with_secret(shop, secret)
    assert names(caller) == listed
    paths = caller.get("/openapi.json").body["paths"]
    assert [path[7:] for path in paths if path.startswith("/flows/")] == listed[0]


def test_a_secret_of_a_flow_starts_that_flow_alone(shop: Served) -> None:
    order, refund = with_secret(shop, ORDER), with_secret(shop, REFUND)
    assert order.post("order", {"customer": "Ada"}).status == 202
    for name in ("refund", "bad", "plain", "none"):
        answered = order.post(name, {})
        assert answered.status == 404
        assert answered.body["error"] == (
            f"there is no flow '{name}'; GET /flows lists those there are"
        )
    assert shop.store.waiting("refund", 10, 1000) == []
    assert refund.post("refund", {}).status == 202


def test_a_secret_of_a_flow_asks_for_its_requests_alone(shop: Served) -> None:
    order, refund = with_secret(shop, ORDER), with_secret(shop, REFUND)
    request_id = order.started("order", {"customer": "Ada"})
    assert order.about(request_id)["status"] == "waiting"
    assert with_secret(shop, ALL).about(request_id)["status"] == "waiting"
    other, none = refund.get(f"/requests/{request_id}"), refund.get("/requests/none")
    assert other.status == none.status == 404
    assert other.body == none.body


def test_secrets_are_changed_without_a_restart(
    shop: Served, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = "a-new-secret-for-all-flows"
    assert with_secret(shop, new).get("/flows").status == 401
    file.write_text(f"{ALL}\n{new}\n")
    assert with_secret(shop, new).get("/flows").status == 200
    assert with_secret(shop, ALL).get("/flows").status == 200
    assert with_secret(shop, OLD).get("/flows").status == 401
    other = file.with_name("other")
    other.write_text(f"{new}\n")
    os.replace(other, file)
    assert with_secret(shop, ALL).get("/flows").status == 401
    assert with_secret(shop, new).get("/flows").status == 200
    assert new not in caplog.text


@pytest.mark.parametrize(
    "broken", ["", "# none\n", "short\n", "or der: a-secret-of-order-1\n", None]
)
def test_a_broken_file_keeps_the_secrets_of_before(
    shop: Served, file: Path, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert with_secret(shop, ALL).get("/flows").status == 200
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{file}: ")
    assert line.endswith("; the secrets of before stay valid")
    file.write_text(f"{REFUND}\n")
    assert with_secret(shop, ALL).get("/flows").status == 401
    assert with_secret(shop, REFUND).get("/flows").status == 200


def test_a_secret_with_a_colon_is_one() -> None:
    secrets = parse_secrets("user:with-a-colon-in-it\r\norder:\tuser:with-another-one\n")

    assert secrets.find(b"user:with-a-colon-in-it") == EVERYTHING
    assert secrets.find(b"user:with-another-one") == Granted(frozenset({"order"}))
    assert secrets.find(b"order") is None
    assert secrets.names == {"order"}


def test_a_secret_for_all_is_for_all_whatever_else_is_said_of_it() -> None:
    assert parse_secrets(f"order: {ALL}\n{ALL}\n").find(ALL.encode()) == EVERYTHING


@pytest.mark.parametrize(
    "text", ["short-1", "order: short-1", "a b c d e f g h i j k l", "x: \u00e4" * 9]
)
def test_no_problem_shows_a_secret(text: str) -> None:
    with pytest.raises(ValueError, match="line 2: ") as caught:
        parse_secrets(f"{ALL}\n{text}\n")
    assert text not in str(caught.value)
    assert "short-1" not in str(caught.value)


def test_the_command_takes_such_a_file_and_tells_of_unknown_flows(
    flows: Path, home: Path, file: Path, pythons: ForkedPythons
) -> None:
    options = ("--secret-file", str(file))
    with started(pythons, flows, home, *options, secret=None) as (process, caller):
        assert names(Caller(caller.port, ORDER)) == (["order"], [])
        file.write_text(f"order: {ALL}\n")
        assert Caller(caller.port, ORDER).get("/flows").status == 401
        assert Caller(caller.port, ALL).get("/flows").status == 200
        process.terminate()
        _, errors = process.communicate()

    assert errors.startswith("Warning: a secret is for 'refund', which takes no requests")
    assert f"the secrets of {file} were read again" in errors
