"""What ``docs/inbox.md`` shows is run as it stands."""

import json
import os
import re
import subprocess
from pathlib import Path

from dagster import DagsterInstance
from docs_blocks import DOCS, all_blocks, blocks

from inbox.inbox_flows import SECRET, serving
from rayflow_dagster import FlowValidator
from rayflow_dagster.inbox import connections, receiving, wrong_secrets
from rayflow_dagster.inbox.body import MAX_DEPTH
from rayflow_dagster.inbox.endpoint import Limits
from rayflow_dagster.inbox.secret_file import EVERYTHING, LEAST_SECRET, Granted, parse_secrets

FILE = DOCS / "inbox.md"
PAGE = FILE.read_text()


def texts(language: str) -> list[str]:
    return [block.text for block in blocks(FILE, language)]


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path, memory: DagsterInstance) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    flow, _ = texts("json")
    assert FlowValidator().validate(json.loads(flow)) == (True, [])
    (folder / "order.json").write_text(flow)
    with serving(folder, memory) as served:

        def run(command: str, **more: str) -> list[dict]:
            done = subprocess.run(
                ["bash", "-c", command.replace("3001", str(served.caller.port))],
                env={**os.environ, "RAYFLOW_INBOX_SECRET": SECRET, **more},
                capture_output=True,
                text=True,
                check=True,
            )
            decoder, text, found = json.JSONDecoder(), done.stdout, []
            while text:
                value, end = decoder.raw_decode(text)
                found.append(value)
                text = text[end:]
            return found

        send, ask, describe, sign = texts("bash")
        (accepted,) = run(send)
        assert accepted.keys() == {"id", "status_url"}
        assert run(send) == [accepted]
        (about,) = run(ask, ID=accepted["id"])
        assert about["status"] == "waiting"
        (signed,) = run(sign)
        assert signed.keys() == {"id", "status_url"}
        listed, document = run(describe)
        assert listed["flows"][0]["name"] == "order"
        assert "/flows/order" in document["paths"]
        statuses = document["components"]["schemas"]["Request"]["properties"]["status"]["enum"]
        assert re.findall(r"^\| `([a-z]+)` \| ", PAGE, re.MULTILINE)[1:] == statuses


def test_the_file_of_secrets_is_read_as_the_page_says() -> None:
    (text,) = (block.text for block in all_blocks(FILE) if block.language == "text")
    secrets = parse_secrets(text)

    assert list(secrets.granted.values()) == [EVERYTHING] * 2 + [Granted(frozenset({"order"}))]


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    limits = Limits()

    assert f"more than {limits.body // 1_000_000} MB (`--max-body`)" in PAGE
    assert f"{limits.waiting} requests of the flow wait" in PAGE
    assert f"more than {limits.rate:g} requests a second" in PAGE
    assert f"{limits.keep / 86400:g} days (`--keep`)" in PAGE
    assert f"deeper than {MAX_DEPTH} levels" in PAGE
    assert f"`{connections.HEALTH}`" in PAGE
    words = " ".join(PAGE.split())
    assert f"{connections.MOST} connections, and {connections.OF_ADDRESS} of one address" in words
    assert f"comes within {connections.IDLE_SECONDS:g} seconds" in words
    assert f"longer than {connections.REQUEST_SECONDS:g} seconds" in words
    assert f"not there within {receiving.BODY_SECONDS:g} seconds" in words
    assert f"After {wrong_secrets.FREE} of them" in words
    assert f"up to {wrong_secrets.MAX_WAIT:g} seconds" in words
    assert f"{LEAST_SECRET} or more characters" in words
