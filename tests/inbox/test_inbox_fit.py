"""What callers are told of errors, and what goes to the log instead."""

import logging
import traceback
from pathlib import Path

import pytest

from inbox.inbox_flows import Served
from rayflow_dagster.inbox.fit import for_callers

ORDER = {"customer": "Ada"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No such file: '/home/me/a b/x.db'", "No such file: '<path>'"),
        ('No such file: "/home/me/a b/x.db".', 'No such file: "<path>".'),
        ("/home/me/pyproject.toml, line 3: nods", "<path>, line 3: nods"),
        ("open /srv/x.json: denied", "open <path>: denied"),
        ("(/srv/x.json)", "(<path>)"),
        ("path=/srv/x", "path=<path>"),
        ("at:/srv/x", "at:<path>"),
        ("//srv/x", "<path>"),
        ("file:///srv/x and sqlite:////srv/x.db", "<path> and <path>"),
        ("GET https://shop.example/orders/7: 404", "GET https://shop.example/orders/7: 404"),
        ("order.json, flows/order.json, ./x", "order.json, flows/order.json, ./x"),
        ("application/json, 1/2, a / b", "application/json, 1/2, a / b"),
        ("", ""),
    ],
)
def test_a_text_keeps_all_but_paths(text: str, told: str) -> None:
    assert for_callers(text) == told


def test_a_traceback_is_left_out_but_for_its_error() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError:
        text = for_callers(f"the child failed: {traceback.format_exc()}")

    assert text.startswith("the child failed: KeyError: 'inner'")
    assert text.endswith("ValueError: outer")
    assert "File" not in text
    assert "Traceback" not in text


def test_a_store_that_cannot_be_used_is_told_without_its_place(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.store.close()
    answered = served.caller.post("order", ORDER)

    assert answered.status == 503
    assert int(answered.headers["retry-after"]) > 0
    assert "cannot be used: ProgrammingError: " in answered.body["error"]
    assert any(record.exc_info for record in caplog.records)


def test_why_a_request_got_no_run_is_told_without_paths(served: Served) -> None:
    request_id = served.caller.started("order", ORDER)
    served.store.end({request_id: "it does not fit '/srv/a b'"}, "refused")

    assert served.caller.about(request_id)["error"] == "it does not fit '<path>'"


def test_broken_settings_are_told_without_their_place(
    served: Served, flows: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (flows.parent / "pyproject.toml").write_text("[tool.rayflow_dagster]\nnods = 1\n")
    for answered in (served.caller.post("order", ORDER), served.caller.get("/flows")):
        assert answered.status == 503
        assert int(answered.headers["retry-after"]) > 0
        assert "read: <path>, [tool.rayflow_dagster]: " in answered.body["error"]
        assert str(flows.parent) not in answered.body["error"]
    assert str(flows.parent) in caplog.text


def test_a_file_that_cannot_be_opened_is_told_without_its_place(
    served: Served, flows: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (flows / "bad.json").mkdir()
    loop = flows / "loop.json"
    loop.symlink_to(loop)

    for name in ("bad", "loop"):
        answered = served.caller.post(name, {})
        assert answered.status == 503
        assert answered.body["error"].startswith(f"the flow '{name}': its file {name}.json cannot")
        assert answered.body["error"].endswith("'<path>'")
    assert str(flows) not in str(served.caller.get("/flows").body)
    assert str(flows / "bad.json") in caplog.text
    assert served.caller.post("order", ORDER).status == 202


def test_a_broken_flow_is_logged_once(
    served: Served, flows: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (flows / "bad.json").write_text("{ half")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert served.caller.post("bad", {}).status == 503
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("the flow 'bad': its file bad.json cannot be used: ")
        (flows / "bad.json").write_text("{ half of it")
        assert served.caller.post("bad", {}).status == 503
    assert len(caplog.records) <= 2
