"""Texts of nodes that cannot be written as they are: no page of a run fails for them."""

import json
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._serdes import serialize_value
from drawing import draw, node
from odd_nodes.talking import HALF
from running import PROJECT, execute

from rayflow_dagster.cli.terminal import json_text, value_text
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.errors import NodeExecutionError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

SHOWN = "caf\\udce9"


def saying(how: str) -> dict[str, Any]:
    return draw(
        {
            "start": "start",
            "talk": {
                "type": "odd_nodes.talking.TalkNode",
                "data": {"constantValues": {"HOW": how}},
            },
            "return": node("return", inputs={"value": "any"}),
        },
        "start > talk, talk > return, talk.value - return.value",
    )


@pytest.mark.parametrize("how", ["log", "value", "error", "group"])
def test_all_that_a_run_tells_can_be_written(how: str, memory: DagsterInstance) -> None:
    job = build_job(saying(how), "talk", project=PROJECT, connect=in_process)
    run = job.execute_in_process(instance=memory, raise_on_error=False)
    entries = [json.loads(serialize_value(entry)) for entry in memory.all_logs(run.run_id)]
    page = json.dumps(entries, ensure_ascii=False).encode()  # as the UI's server does
    assert run.success == (how in ("log", "value"))
    told = "several" if how == "group" else SHOWN  # Dagster shows no more of a group
    assert told in page.decode().replace("\\\\", "\\")


@pytest.mark.parametrize("how", ["error", "group"])
def test_a_direct_run_tells_what_failed(how: str) -> None:
    settled = []
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process, on_settled=settled.append)
    outcome = execute(orchestrator, saying(how))
    outcome["error"].encode()
    failed = next(each for each in settled if each["status"] == "error")
    error: Any = failed["exception"]
    own = error.original_error if isinstance(error, NodeExecutionError) else error
    assert type(own).__name__ == {"error": "UnwritableError", "group": "ExceptionGroup"}[how]


def test_a_result_is_written_as_json_has_it() -> None:
    assert json_text({"name": HALF}, indent=None) == '{"name": "caf\\udce9"}'
    assert value_text(HALF) == SHOWN
