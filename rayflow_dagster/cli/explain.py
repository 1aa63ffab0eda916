"""``rayflow-dagster explain``: in sentences, when each node of a flow runs, what it waits for,
which body it is in and where it runs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from rayflow_dagster.compiler.explain import End, Explained, explain
from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.errors import ValidationError
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.types import ALWAYS, ERROR_PORT, EXEC_OUT, RETURN_CLASS, START_CLASS, FlowData

from .flows import FlowFile, open_flow
from .group import Refused
from .terminal import indented, one_line, open_console, print_document, styled
from .validate import CheckedFile, print_file

_ON = {
    "worker": "on any worker, as it asks for no place of its own",
    "async": "on the event loop that all async nodes share, as its process is async",
    "resident": "on an actor of its own that outlives the run, as it is resident",
    "run if small": "in the run's process where its inputs are small plain values, as it costs "
    "nothing, and else on any worker",
}


def explain_flow(named: str, node_id: str | None, *, as_json: bool) -> bool:
    """Print what can be said of the nodes of a flow, or of one; False after errors of the flow.

    Raises:
        FlowFormatError: the file is not a flow at all.
        Refused: there is no such flow, or no such node in it.
        ValidationError: the flow has errors, and JSON was asked for.
    """
    flow = open_flow(named)
    raw = cast(FlowData, flow.raw)
    validator = flow.project.validator()
    is_valid, errors = validator.validate(raw)
    if not is_valid and as_json:
        raise ValidationError(errors, flow.name)
    console = open_console()
    if not is_valid:
        print_file(console, CheckedFile(flow.path, list(validator.findings), flow.raw))
        return False
    found = {each.id: each for each in explain(validator.resolve(raw), validator.node_loader)}
    chosen = [found[node_id]] if node_id in found else [*found.values()]
    if node_id is not None and node_id not in found:
        raise _no_such_node(flow, node_id, list(found))
    told = {each.id: sentences(each, found) for each in chosen}
    if as_json:
        nodes = [{**_as_dict(each), "text": told[each.id]} for each in chosen]
        print_document({"flow": flow.name, "nodes": nodes})
        return True
    for number, each in enumerate(chosen):
        console.print("" if number == 0 else "\n", end="")
        console.print(styled(one_line(_title(each)), "bold"))
        console.print(indented(one_line(" ".join(told[each.id])), "  "))
    return True


def sentences(node: Explained, nodes: Mapping[str, Explained]) -> list[str]:
    """What is said of a node; ``nodes`` are all of its flow, by id."""
    parts = (_when(node, nodes), _skipped(node, nodes), _cut_off(node), _waits(node), _how(node))
    return [sentence for part in parts for sentence in part]


def _when(node: Explained, nodes: Mapping[str, Explained]) -> Iterator[str]:
    if node.is_disabled or node.switched_off_by:
        return
    if node.is_start:
        yield "It runs when the flow starts."
    elif node.read_for:
        yield (
            "No exec edge leads to it: it reads its variable when "
            f"{_one_of([_name(each) for each in node.read_for])} is about to run."
        )
    elif not node.fired_by:
        yield "No exec edge leads to it: it runs as soon as what it waits for has settled."
    elif node.join is not None:
        listed_ways = ", or ".join(_fires(end, node, nodes) for end in node.fired_by)
        enough = "one of these has" if node.join == 1 else f"{node.join} of these have"
        yield f"It runs once, as soon as {enough} come: {listed_ways}."
    elif len(node.fired_by) == 1:
        yield f"It runs when {_fires(node.fired_by[0], node, nodes)}."
    else:
        ways = [_fires(end, node, nodes) for end in node.fired_by]
        yield f"It runs once, when all that it waits for has settled and {_one_of(ways)}."
    if node.decided_by is not None:
        yield f"That is where {_fires(node.decided_by, node, nodes)}."
    if node.class_path == RETURN_CLASS:
        yield "What is wired to it is the flow's result."
    if any(end.output == ALWAYS and nodes[end.node].region == "group" for end in node.fired_by):
        yield "It runs also where the flow is about to fail."


def _skipped(node: Explained, nodes: Mapping[str, Explained]) -> Iterator[str]:
    if node.is_disabled:
        yield "It is disabled, so it is always skipped."
    elif node.switched_off_by:
        yield f"It is always skipped, as {_names(node.switched_off_by)} is, which leads to it."
    elif node.runs == "never":
        yield "It is always skipped: no run does what it needs."
    elif node.runs == "always":
        if not (node.is_start or node.is_overtaken or node.ended_by):
            yield f"It is never skipped{_in_time(node, nodes)}."
    elif node.needs:
        inputs = [
            f"'{port}' (from {_names(dict.fromkeys(end.node for end in ends))})"
            for port, ends in node.needs.items()
        ]
        yield f"It is skipped where nothing comes for its input {_one_of(inputs)}."
    else:
        none = "none of them does" if len(node.fired_by) > 1 else "that does not happen"
        none = none if node.join is None else "so many cannot come any more"
        yield f"It is skipped where {none}."


def _cut_off(node: Explained) -> Iterator[str]:
    """Where it is skipped though what leads to it runs."""
    if node.is_disabled or node.switched_off_by:
        return
    too = "too" if node.runs != "always" else "only"
    if node.is_overtaken and node.class_path == RETURN_CLASS:
        yield f"It is skipped {too} where another RETURN is reached first."
    elif node.is_overtaken:
        yield f"It is skipped {too} where a RETURN that does not wait for it ends the flow first."
    if node.ended_by:
        enders = _one_of([_name(each) for each in node.ended_by])
        yield f"It is skipped {too} where {enders} ends the iteration before it has begun."


def _waits(node: Explained) -> Iterator[str]:
    if node.is_disabled:
        return
    if node.waits_for_wired:
        yield f"It waits for {_names(node.waits_for_wired)}."
    if node.waits_unwired:
        yield (
            f"It also waits for {_names(node.waits_unwired)}, though no wire says so: a sequence "
            "or a variable has it so."
        )
    for port, ends in node.stands_in.items():
        sources = _names(dict.fromkeys(end.node for end in ends))
        yield (
            f"Where {sources} brings nothing for its input '{port}', the constant or default "
            "stands in."
        )
    for port, text in node.computed.items():
        yield (
            f"Its input '{port}' is what {text!r} gives, which the run's process works out when it "
            "is about to run."
        )
    if node.from_outside:
        yield f"What it reads from {_names(node.from_outside)} is there before its body begins."


def _how(node: Explained) -> Iterator[str]:
    if node.bodies:
        inside = ", which is in that of ".join(_name(each) for each in node.bodies)
        yield f"It is in the body of {inside}."
        step = f"It is part of the step of {_name(node.step)}"
    elif node.why_not_open is not None:
        step = f"It is one step, because {node.why_not_open}"
    else:
        step = "It is a step of its own"
    if node.is_open:
        yield (
            f"In Dagster it is a nested graph, and each node of flow '{node.calls}' is a step. "
            "A direct run takes it as one node."
        )
    elif node.fused_by is not None:
        if node.calls:
            yield f"It calls flow '{node.calls}'."
        yield (
            f"{step}, and runs on the worker that runs the body of {_name(node.fused_by)} whole."
        )
    else:
        yield f"{step}, and runs {_place(node)}."
    if node.waits_until:
        yield f"It waits {node.waits_until}; neither a worker nor a thread waits with it."
    if node.timeout is not None:
        yield f"An attempt that takes longer than {node.timeout:g} s is ended, and has failed."
    if (node.region is None and not node.calls) or node.fused_by is not None:
        return
    body = f"flow '{node.calls}'" if node.calls else "its body"
    there = "There, " if node.is_open else ""
    if node.why_not_fused is None:
        beside = (
            "its items already run side by side"
            if node.items_side_by_side
            else "none would wait there for another that could run beside it"
        )
        yield _capital(
            f"{there}one worker runs {body} whole, by one call, as no node of it asks for a place "
            f"of its own, and {beside}."
        )
    else:
        yield _capital(f"{there}each node of {body} runs by itself, because {node.why_not_fused}.")


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _place(node: Explained) -> str:
    if node.place == "own":
        asked = ", ".join(f"{name} = {value}" for name, value in node.ray_options.items())
        return f"on an actor of its own, as it asks Ray for {asked}"
    if node.place != "run":
        return _ON[node.place]
    if node.class_path in (START_CLASS, RETURN_CLASS):
        return "in the run's process, as it only passes values on"
    if node.region is not None:
        return "in the run's process, as it only has its body run"
    if node.calls:
        return f"in the run's process, as it only has flow '{node.calls}' run"
    if node.waits_until:
        return "in the run's process"
    return "in the run's process, as what fires follows from its inputs and constants"


def _fires(end: End, node: Explained, nodes: Mapping[str, Explained]) -> str:
    """An exec output that fires, as words after "when"."""
    source, name = nodes[end.node], _name(end.node)
    if source.is_start:
        return "the flow starts"
    if source.region is not None and end.node in node.bodies:
        return f"{name} begins" + ("" if source.region == "group" else " an iteration")
    if end.output == EXEC_OUT:
        return f"{name} has run"
    if end.output == ERROR_PORT:
        return f"{name} has failed"
    if source.region is not None and end.output == ALWAYS:
        return f"{name} has ended, whatever came of it"
    if source.region is not None and end.output == "done":
        return f"{name} is done"
    return f"{name} fires '{end.output}'"


def _in_time(node: Explained, nodes: Mapping[str, Explained]) -> str:
    """Where what is said of a node holds: each time that the body runs which it is in."""
    if not node.bodies:
        return ""
    name = _name(node.bodies[0])
    is_group = nodes[node.bodies[0]].region == "group"
    return f" where {name} runs" if is_group else f" in an iteration of {name}"


def _title(node: Explained) -> str:
    label = f" ({node.label})" if node.label not in ("", node.id) else ""
    return f"{node.id}{label}: {short_name(node.class_path)}"


def _name(node_id: str) -> str:
    return f"'{node_id}'"


def _names(node_ids: Iterable[str]) -> str:
    return _joined([_name(each) for each in node_ids], "and")


def _one_of(words: Sequence[str]) -> str:
    return _joined(words, "or")


def _joined(words: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _as_dict(node: Explained) -> dict[str, Any]:
    """A node as JSON."""
    found = asdict(node)
    found["type"] = short_name(found.pop("class_path"))
    found["fired_by"] = [_end(end) for end in node.fired_by]
    for key, inputs in (("needs", node.needs), ("stands_in", node.stands_in)):
        found[key] = {port: [_end(end) for end in ends] for port, ends in inputs.items()}
    found["decided_by"] = None if node.decided_by is None else _end(node.decided_by)
    return {**found, "step": node.step}


def _end(end: End) -> dict[str, str]:
    return {"node": end.node, "output": end.output}


def _no_such_node(flow: FlowFile, named: str, known: list[str]) -> Refused:
    near = did_you_mean(named, known) or f"; it has {listed(known)}"
    return Refused(f"flow '{flow.name}' has no node '{named}'{near}")
