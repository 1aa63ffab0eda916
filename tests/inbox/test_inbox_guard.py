"""What happens to wrong secrets."""

import logging
from pathlib import Path

import pytest
from forked_pythons import ForkedPythons

from inbox.inbox_flows import SECRET, Answered, Caller, Served
from inbox.inbox_processes import started
from rayflow_dagster.inbox import wrong_secrets
from rayflow_dagster.inbox.wrong_secrets import FREE, MAX_WAIT, WrongSecrets

WRONG = "a-wrong-secret-of-tests"


def wrong(served: Served, count: int, address: str = "127.0.0.1") -> list[Answered]:
    stranger = Caller(served.caller.port, WRONG, address)
    return [stranger.get("/flows") for _ in range(count)]


def test_after_some_wrong_secrets_an_address_is_told_to_wait(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_secrets, "FREE", -16)  # the first wait is the longest
    first, second = wrong(served, 2)
    assert first.status == 401
    assert second.status == 429
    assert 0 < int(second.headers["retry-after"]) <= MAX_WAIT


def test_400_wrong_secrets_in_a_row_are_throttled_and_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        statuses = [answered.status for answered in wrong(served, 400)]

    assert statuses[:FREE] == [401] * FREE
    assert 429 in statuses
    assert statuses.count(401) < 100
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["127.0.0.1 sent a wrong secret for GET '/flows'"] * 400


def test_a_right_secret_passes_wherever_it_comes_from(served: Served) -> None:
    wrong(served, 2 * FREE)
    assert served.caller.get("/flows").status == 200
    assert Caller(served.caller.port, None).get("/health").status == 200


def test_other_addresses_do_not_wait(served: Served) -> None:
    wrong(served, 2 * FREE)
    assert [answered.status for answered in wrong(served, FREE, "127.0.0.2")] == [401] * FREE
    assert Caller(served.caller.port, SECRET, "127.0.0.3").get("/flows").status == 200


def test_a_missing_secret_is_no_wrong_one(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    stranger = Caller(served.caller.port, None)
    assert {stranger.get("/flows").status for _ in range(4 * FREE)} == {401}
    assert caplog.records == []


def test_the_line_of_a_wrong_secret_reaches_the_terminal(
    flows: Path, home: Path, pythons: ForkedPythons
) -> None:
    with started(pythons, flows, home) as (process, caller):
        stranger = Caller(caller.port, WRONG)
        assert stranger.get("/flows/%1b%0ax").status == 401
        process.terminate()
        _, errors = process.communicate()

    assert errors.splitlines()[0] == (r"127.0.0.1 sent a wrong secret for GET '/flows/\x1b\nx'")
    assert WRONG not in errors


def test_the_wait_grows_and_ends() -> None:
    now = 0.0
    secrets = WrongSecrets(lambda: now)

    assert [secrets.note("a") for _ in range(FREE)] == [0.0] * FREE
    waits = []
    for _ in range(12):
        waits.append(secrets.note("a"))
        now += waits[-1]
        assert secrets.note("a") == 0.0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, MAX_WAIT, MAX_WAIT, MAX_WAIT]
    assert secrets.note("b") == 0.0
    now += wrong_secrets.FORGET_SECONDS + 1
    assert [secrets.note("a") for _ in range(FREE)] == [0.0] * FREE


def test_what_is_kept_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_secrets, "MAX_ADDRESSES", 3)
    secrets = WrongSecrets(lambda: 0.0)
    for _ in range(FREE):
        secrets.note("first")
    assert secrets.note("first") == 1.0
    for address in "abc":
        secrets.note(address)
    assert secrets.note("first") == 0.0
