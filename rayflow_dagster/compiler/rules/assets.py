"""The rules about assets: ``data.asset`` of nodes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError as PydanticError

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow, topological_order
from rayflow_dagster.compiler.starts.assets import (
    AssetOptions,
    AssetPath,
    asset_options,
    asset_output,
    asset_steps,
    key_path,
    valid_assets,
)
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.values.preview import preview

_KEY = "a key such as 'reports/daily', or its parts in a list"
_PART = re.compile(r"[\w.-]+")


def asset(flow: ResolvedFlow) -> Iterator[Finding]:
    """The form of every ``data.asset``, the output that it names, its keys."""
    for node in flow.nodes.values():
        for problem in _asset_problems(node):
            yield Finding("asset", f"node {node} data.asset{problem}", node=node.id)


def asset_key(flow: ResolvedFlow) -> Iterator[Finding]:
    """Keys that stand twice, and assets that are made from themselves."""
    first: dict[AssetPath, str] = {}
    declared = valid_assets(flow)
    for node_id, options in declared.items():
        node = flow.nodes[node_id]
        other = first.setdefault(options.path, node_id)
        where = f"node {node} data.asset"
        if other != node_id:
            yield Finding(
                "asset_key",
                f"{where}.key: node {flow.nodes[other]} has the asset '{shown(options.path)}' as "
                "well; give each its own key",
                node=node.id,
            )
        elif options.path in options.dep_paths:
            text = f"{where}.deps: an asset cannot depend on itself ('{shown(options.path)}')"
            yield Finding("asset_deps", f"{text}; leave it out", node=node.id)
    if len(first) < len(declared) or not flow.is_acyclic:
        return  # told already, and then there is a circle
    steps = asset_steps(flow)
    through = set(topological_order(steps))
    left = [step for step in steps if not isinstance(step, str) and step not in through]
    if left:
        keys = listed([f"'{shown(path)}'" for path in left])
        yield Finding(
            "asset_deps",
            f"the assets {keys} depend on each other in a circle; remove one of their deps",
        )


def shown(path: AssetPath) -> str:
    """A key for people."""
    return "/".join(path)


def _asset_problems(node: Node) -> Iterator[str]:
    """What is wrong with a node's ``data.asset``, each beginning with the place in it."""
    try:
        options = asset_options(node)
    except PydanticError as error:
        yield from dict.fromkeys(_form(item, node.data["asset"]) for item in error.errors())
        return
    if options is None:
        return
    yield from _key_problems("key", options.key)
    for index, dep in enumerate(options.deps):
        yield from _key_problems(f"deps[{index}]", dep)
    for name in options.metadata:
        if name.startswith("dagster/"):
            yield f".metadata '{name:.80}': names that begin with dagster/ are Dagster's own"
    if node.metadata is None:
        return  # nothing is known of its outputs, which another rule reports
    try:
        asset_output(node, options)
    except LookupError as error:
        hint = did_you_mean(options.output, node.outputs) if options.output else ""
        yield f".output: {error.args[0]}{hint}"


def _key_problems(place: str, key: str | list[str]) -> Iterator[str]:
    path = key_path(key)
    wrong = [part for part in path if not _PART.fullmatch(part)]
    if wrong or not path:
        what = (
            f"'{wrong[0]:.80}' cannot be a part of it" if wrong and wrong[0] else "a part is empty"
        )
        yield (
            f".{place}: {what} in {preview(key, 80)}; write {_KEY}, with letters, digits, _, - and "
            "dots in each part"
        )


def _form(item: Mapping[str, Any], given: Any) -> str:
    """One of pydantic's errors. A key of neither form has one error for each form."""
    location = item["loc"]
    if not location:
        return f": must be an object with keys, {{...}}, not {preview(given, 80)}"
    name = str(location[0])
    if item["type"] == "extra_forbidden":
        known = list(AssetOptions.model_fields)
        return (
            f".{name}: there is no such key (known: {', '.join(known)}){did_you_mean(name, known)}"
        )
    if item["type"] == "missing":
        return f".{name}: is missing; it is {_KEY}"
    value = given[name]
    if name == "key":
        return f".key: must be {_KEY}, not {preview(value, 80)}"
    if name == "deps" and len(location) > 1:
        at = location[1]
        return f".deps[{at}]: must be {_KEY}, not {preview(value[at], 80)}"
    expected = {
        "group": "a name of letters, digits and _",
        "deps": "a list of keys",
        "metadata": "an object with keys, {...}",
    }.get(name, "text")
    return f".{name}: must be {expected}, not {preview(value, 80)}"


ASSETS = (asset, asset_key)
