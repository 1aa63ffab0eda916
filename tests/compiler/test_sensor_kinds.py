"""A kind of sensor is declared once, and is everywhere: none of these places can forget it."""

from pathlib import Path

import pytest
from drawing import draw

from rayflow_dagster.compiler.schema import flow_schema
from rayflow_dagster.compiler.starts import triggers
from rayflow_dagster.compiler.starts.triggers import KINDS, SENSORS, Sensor, declared_triggers
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.triggers.build import LOOKS

DOCS = Path(__file__).parents[2] / "docs"
LEAST = {
    "file": {"path": "inbox/*.csv"},
    "flow": {"flow": "other"},
    "poll": {"check": "nodes.shop.NewOrders"},
    "inbox": {},
}
"""What a sensor of each kind has at the least."""


def classes(kind: type[Sensor]) -> list[type[Sensor]]:
    below = [each for sub in kind.__subclasses__() for each in classes(sub)]
    return below or [kind]


def test_every_class_of_a_kind_is_in_the_table():
    own = [each for each in classes(Sensor) if each.__module__ == triggers.__name__]
    assert sorted(own, key=repr) == sorted(KINDS, key=repr)


@pytest.mark.parametrize("word", SENSORS)
def test_a_kind_is_read_drawn_built_and_told(word: str):
    kind = SENSORS[word]
    (read,) = declared_triggers({"sensors": [{"type": word, **LEAST[word]}]}).sensors
    assert type(read) is kind
    assert flow_schema()["$defs"][kind.__name__]["properties"]["type"]["const"] == word
    assert kind in LOOKS
    assert f'"type": "{word}"' in (DOCS / "triggers.md").read_text()
    assert f'| `type` | `"{word}"` |' in (DOCS / "flow-file.md").read_text()


def test_a_kind_that_there_is_not_is_told_of_those_there_are():
    flow = draw(
        {"start": "start", "return": "return"}, "start > return", sensors=[{"type": "bell"}]
    )
    _, (problem,) = FlowValidator().validate(flow)
    assert "sensors[0].type: must be file, flow, poll or inbox, not 'bell'" in problem
