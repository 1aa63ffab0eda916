"""The endpoint over real HTTP."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from inbox.inbox_flows import INBOX, SECRET, Caller, Served, flow_of, serving, write_flow
from rayflow_dagster.inbox.app import TokenBucket
from rayflow_dagster.inbox.endpoint import Limits

ORDER = {"customer": "Ada"}
PATHS = ["/flows", "/openapi.json", "/requests/x", "/flows/order", "/nothing"]


def test_a_request_is_stored_before_it_is_accepted(served: Served) -> None:
    answered = served.caller.post("order", {"customer": "Ada", "amounts": [1, 2.5]})

    assert answered.status == 202
    (waiting,) = served.store.waiting("order", 10, 1000)
    assert waiting.inputs == {"customer": "Ada", "amounts": [1, 2.5]}
    assert answered.body == {"id": waiting.id, "status_url": f"/requests/{waiting.id}"}
    assert answered.headers["location"] == f"/requests/{waiting.id}"
    about = served.caller.about(waiting.id)
    assert about["status"] == "waiting"
    assert about["flow"] == "order"
    assert about["run_id"] is about["result"] is about["error"] is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer a-wrong-secret-of-tests",
        f"Bearer {SECRET}x",
        f"Basic {SECRET}",
        SECRET,
        "Bearer",
        "",
        "Bearer \u00e4",
    ],
)
def test_nothing_is_told_without_the_secret(served: Served, path: str, header: str | None) -> None:
    stranger = Caller(served.caller.port, None)
    headers = {} if header is None else {"Authorization": header}
    for method in ("GET", "POST"):
        answered = stranger.ask(method, path, b"{}", Content_Type="application/json", **headers)
        assert answered.status == 401
        assert answered.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in answered.body["error"]
    assert served.store.waiting("order", 10, 1000) == []


def test_health_is_told_to_everybody(served: Served) -> None:
    answered = Caller(served.caller.port, None).get("/health")

    assert (answered.status, answered.body) == (200, {"status": "ok"})


def test_an_unknown_flow_is_named_with_the_nearest(caller: Caller) -> None:
    answered = caller.post("ordr", ORDER)

    assert answered.status == 404
    assert "did you mean 'order'?" in answered.body["error"]


def test_a_flow_without_an_inbox_sensor_says_what_to_add(caller: Caller) -> None:
    answered = caller.post("plain", {})

    assert answered.status == 404
    assert '{"type": "inbox"}' in answered.body["error"]


def test_unknown_paths_and_methods_are_json_too(caller: Caller) -> None:
    assert caller.get("/nothing").status == 404
    answered = caller.get("/flows/order")
    assert answered.status == 405
    assert "GET /openapi.json" in answered.body["error"]


def test_every_problem_of_the_inputs_is_told(served: Served) -> None:
    answered = served.caller.post("order", {"amounts": [1, "2"], "custmer": "Ada"})

    assert answered.status == 422
    problems = answered.body["problems"]
    assert len(problems) == 3
    assert any("'customer' (str) is missing" in problem for problem in problems)
    assert any("'amounts' takes list[float]" in problem for problem in problems)
    assert any("did you mean 'customer'" in problem for problem in problems)
    assert served.store.waiting("order", 10, 1000) == []


def test_a_caller_cannot_name_a_secret_of_ours(caller: Caller, flows: Path) -> None:
    write_flow(flows, "deep", flow_of({"any": "any"}, INBOX))

    assert caller.post("order", {"customer": {"$env": "HOME"}}).status == 422
    answered = caller.post("deep", {"any": [{"x": [{"$env": "HOME"}]}]})
    assert answered.status == 422
    assert answered.body["problems"] == [
        "input 'any' names a secret ($env); a request may not, only the flow may"
    ]


def test_an_input_that_the_sensor_sets_cannot_be_given(caller: Caller, flows: Path) -> None:
    sensor = {**INBOX, "inputs": {"key": {"$env": "SHOP_KEY"}}}
    write_flow(flows, "fixed", flow_of({"key": "str", "n": "int"}, sensor))

    answered = caller.post("fixed", {"key": "mine", "n": 1})
    assert answered.status == 422
    assert "set by the flow's inbox sensor" in answered.body["problems"][0]
    assert caller.post("fixed", {"n": 1}).status == 202


def test_requests_that_come_too_often_are_told_when_to_come_again(
    flows: Path, memory: DagsterInstance
) -> None:
    with serving(flows, memory, Limits(rate=0.001)) as served:
        assert served.caller.post("order", ORDER).status == 202
        answered = served.caller.post("order", ORDER)
        assert answered.status == 429
        assert 0 < int(answered.headers["retry-after"]) <= 1000
        assert served.caller.get("/flows").status == 200
        assert served.caller.get("/flows").status == 429
        assert Caller(served.caller.port, None).get("/health").status == 200


def test_tokens_come_back_with_time() -> None:
    now = 0.0
    bucket = TokenBucket(2.0, lambda: now)

    assert [bucket.take() for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.5]
    now = 0.5
    assert bucket.take() == 0.0
    assert bucket.take() == 0.5
    now = 1000.0
    assert [bucket.take() > 0 for _ in range(5)] == [False] * 4 + [True]


def test_only_so_many_requests_may_wait(flows: Path, memory: DagsterInstance) -> None:
    with serving(flows, memory, Limits(waiting=1)) as served:
        first = served.caller.post("order", ORDER, Idempotency_Key="one")
        answered = served.caller.post("order", ORDER)
        assert answered.status == 503
        assert int(answered.headers["retry-after"]) > 0
        expected = "1 request of this flow waits already; does its inbox sensor run?"
        assert answered.body["error"] == expected
        again = served.caller.post("order", ORDER, Idempotency_Key="one")
        assert (again.status, again.body) == (200, first.body)


def test_a_key_makes_repeating_safe(caller: Caller) -> None:
    body = {"customer": "Ada", "amounts": [1]}
    first = caller.post("order", body, Idempotency_Key="k 1".replace(" ", "-"))
    again = caller.post("order", {"amounts": [1], "customer": "Ada"}, Idempotency_Key="k-1")
    other = caller.post("order", {"customer": "Bob"}, Idempotency_Key="k-1")

    assert (first.status, again.status, other.status) == (202, 200, 409)
    assert "take another key" in other.body["error"]
    assert again.body == first.body
    assert caller.post("order", body, Idempotency_Key="x" * 256).status == 400
    assert caller.post("order", body).body["id"] != first.body["id"]


def test_an_accepted_request_can_be_repeated_after_the_flow_has_changed(
    caller: Caller, flows: Path
) -> None:
    first = caller.post("order", ORDER, Idempotency_Key="kept")
    write_flow(flows, "order", flow_of({"customer": "int"}, INBOX))

    assert caller.post("order", ORDER, Idempotency_Key="kept").body == first.body
    assert caller.post("order", ORDER).status == 422


def test_an_edited_flow_is_read_without_a_restart(caller: Caller, flows: Path) -> None:
    assert caller.post("later", {"n": 1}).status == 404
    file = write_flow(flows, "later", flow_of({"n": "int"}, INBOX))
    assert caller.post("later", {"n": 1}).status == 202
    write_flow(flows, "later", flow_of({"n": "str"}, INBOX))
    assert caller.post("later", {"n": 1}).status == 422
    file.write_text("{ half a file")
    answered = caller.post("later", {"n": "1"})
    assert answered.status == 503
    assert "later.json" in answered.body["error"]
    assert int(answered.headers["retry-after"]) > 0
    assert caller.post("order", ORDER).status == 202
    write_flow(flows, "later", flow_of({"n": "str"}, INBOX))
    assert caller.post("later", {"n": "1"}).status == 202
    file.unlink()
    assert caller.post("later", {"n": "1"}).status == 404


@pytest.mark.parametrize(
    "flow",
    [
        flow_of({}, INBOX, INBOX),
        flow_of({}, {**INBOX, "max_per_tick": "many"}),
        {**flow_of({}, INBOX), "nodes": []},
        {**flow_of({}, INBOX), "nodes": 7},
    ],
    ids=["two inbox sensors", "a wrong sensor", "no START", "no outline"],
)
def test_a_flow_that_cannot_be_used_is_told_and_takes_the_others_not_down(
    caller: Caller, flows: Path, flow: dict[str, Any]
) -> None:
    write_flow(flows, "bad", flow)

    answered = caller.post("bad", {})
    assert answered.status == 503
    assert "bad.json cannot be used" in answered.body["error"]
    assert caller.get("/flows").body["broken"].keys() == {"bad"}
    assert caller.post("order", ORDER).status == 202


def test_two_flows_of_one_name_take_no_requests(caller: Caller, flows: Path) -> None:
    write_flow(flows, "twin", flow_of({}, INBOX, name="order"))

    answered = caller.post("order", ORDER)
    assert answered.status == 503
    assert "order.json, twin.json" in answered.body["error"]


def test_broken_settings_of_the_project_are_told(caller: Caller, flows: Path) -> None:
    settings = flows.parent / "pyproject.toml"
    settings.write_text("[tool.rayflow_dagster]\nnods = 1\n")
    answered = caller.post("order", ORDER)
    assert answered.status == 503
    assert "nods" in answered.body["error"]
    settings.write_text("")
    assert caller.post("order", ORDER).status == 202


def test_the_flows_that_take_requests_are_listed(caller: Caller) -> None:
    before = caller.get("/flows").body["flows"][0]["waiting"]
    caller.started("order", ORDER)

    (listed,) = caller.get("/flows").body["flows"]
    assert listed == {
        "name": "order",
        "description": "Takes an order.",
        "url": "/flows/order",
        "inputs": {"customer": "str", "amounts": "list[float]", "express": "bool | None"},
        "body": None,
        "waiting": before + 1,
    }


def test_the_name_is_that_of_the_job(caller: Caller, flows: Path) -> None:
    write_flow(flows, "file-name", flow_of({}, INBOX, name="Order check!"))

    assert caller.post("Order_check", {}).status == 202


def test_an_unknown_request_is_not_found(caller: Caller) -> None:
    assert caller.get("/requests/nothing").status == 404


def test_a_store_that_cannot_be_used_accepts_nothing(served: Served) -> None:
    served.store.close()

    answered = served.caller.post("order", ORDER)
    assert answered.status == 503
    assert "nothing was stored" in answered.body["error"]


def test_a_connection_serves_many_requests(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.caller.port, timeout=30)
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    statuses = []
    for body in (ORDER, ORDER, {}, ORDER):
        connection.request("POST", "/flows/order", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append((answer.status, answer.getheader("connection")))
    connection.close()

    assert statuses == [(202, None), (202, None), (422, None), (202, None)]
