"""The rules about options: what a node's ``data`` and the flow's ``settings`` ask for."""

import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WrapValidator
from pydantic import ValidationError as PydanticError
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from rayflow_dagster.compiler.findings import Finding, form_problem, place_of
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow
from rayflow_dagster.compiler.starts.assets import AssetOptions
from rayflow_dagster.suggest import closest, did_you_mean, listed
from rayflow_dagster.types import FLOW_CLASS, IDLE_OPTION
from rayflow_dagster.values.preview import preview
from rayflow_dagster.values.stored import local_or_url

_TEXTS = {
    "pool": "the name of a pool, without spaces",
    "storage": "a folder or a URL such as s3://bucket/folder, or left out",
    "retry_on": "the name of an exception class such as ConnectionError or httpx.HTTPError, "
    '"timeout" or "crash"',
}
"""What is expected where a text has the wrong form."""

FLOW_KEYS = ("nodes", "edges", "variables", "schedules", "sensors", "partitions", "on_failure")
"""The keys of a flow that other rules check."""

NODE_KEYS = ("asset",)
"""The keys of a node's data whose form other rules check."""

_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
"""A class's name, plain or dotted."""

_CLOSE = 80
"""How like a known key an unknown one must be to be taken for a slip of the pen (0 to 100)."""


class Retry(BaseModel):
    """When a node that has failed runs again."""

    model_config = ConfigDict(extra="forbid", strict=True)
    max: int = Field(ge=0, le=1000, description="Attempts after the first.")
    delay: float = Field(default=0.0, ge=0, description="Seconds before the next attempt.")
    backoff: Literal["linear", "exponential"] | None = Field(
        default=None, description="How the delay grows from attempt to attempt; else it stays."
    )
    max_delay: float | None = Field(
        default=None, gt=0, description="Seconds that no delay is longer than, however it grows."
    )
    jitter: bool = Field(default=False, description="Whether the delay varies at random.")
    retry_on: list[Annotated[str, Field(pattern=_NAME)]] | None = Field(
        default=None,
        min_length=1,
        description="The errors after which it runs again; all, without this key: names of "
        "exception classes, plain or dotted, which are the error's class or a base of it; "
        '"timeout" for a TimeoutError; "crash" where the process that ran it died.',
    )


class Ray(BaseModel):
    """What a node's actor asks of Ray, as `ray_options` of a node class do."""

    model_config = ConfigDict(extra="forbid", strict=True)
    num_cpus: float | None = Field(default=None, ge=0, description="CPU slots.")
    num_gpus: float | None = Field(default=None, ge=0, description="GPUs.")
    memory: float | None = Field(default=None, ge=0, description="Bytes of memory.")
    resources: dict[str, float] | None = Field(
        default=None, description="How much of the cluster's own resources, by their names."
    )
    runtime_env: dict[str, Any] | None = Field(
        default=None,
        description="Ray's runtime_env; refused unless the project says allow_runtime_env.",
    )
    max_concurrency: SkipJsonSchema[int | None] = Field(default=None, ge=1)
    # Was documented and never did anything; `idle_option` tells of it.


class AtLeast(BaseModel):
    """A join of some of the exec edges."""

    model_config = ConfigDict(extra="forbid", strict=True)
    at_least: int = Field(ge=1, description="How many of the exec edges have to fire.")


def _join(value: Any, handler: Callable[[Any], Any]) -> Any:
    """One problem for all that a join can be."""
    try:
        return handler(value)
    except PydanticError:
        forms = 'must be "all", "any" or {"at_least": 2}'
        raise PydanticCustomError("join", forms) from None


class NodeOptions(BaseModel):
    """The settings of a node. Other keys belong to the editor."""

    model_config = ConfigDict(strict=True)
    label: str | None = Field(default=None, description="Names the step in Dagster.")
    retry: Retry | None = Field(
        default=None,
        description="Runs the node again when it fails; it may then run more than once.",
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that an attempt may take. Then the process that runs it is ended, "
        "and the attempt has failed with `NodeTimeoutError`. Of a loop, a group or a call: that "
        "all of it may take.",
    )
    ray: Ray | None = Field(default=None, description="What its actor asks of Ray.")
    pool: str | None = Field(
        default=None,
        pattern=r"^\S+$",
        description="The Dagster pool whose limit the step counts for.",
    )
    priority: int | None = Field(
        default=None,
        description="Of the steps that are ready, those with a higher one start first.",
    )
    tags: dict[str, Any] | None = Field(default=None, description="Tags of the step.")
    description: str | None = Field(default=None, description="Shown at the step.")
    join: Annotated[Literal["all", "any"] | AtLeast | None, WrapValidator(_join)] = Field(
        default=None,
        description="Which of its exec edges it waits for: all of them, and it runs if one has "
        "fired (all, the default); or the first that fires (any), or so many as at_least says, "
        "and it is skipped if so many cannot fire.",
    )
    disabled: bool | None = Field(
        default=None,
        description="true skips the node in every run, and what only it leads to.",
    )
    resident: bool | None = Field(
        default=None, description="Whether the node's object outlives the run."
    )
    resident_ttl: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without work after which a resident node ends; 600 by default.",
    )
    asset: AssetOptions | None = Field(
        default=None, description="Makes its output, or RETURN's result, an asset in Dagster."
    )


class LoopOptions(BaseModel):
    """The settings of a loop beside those of any node."""

    model_config = ConfigDict(strict=True)
    carry: dict[str, Any] | None = Field(
        default=None,
        description="What an iteration hands to the next: names with types and first values, as "
        'the inputs of START: {"page": {"type": "int", "default": 1}}.',
    )
    interval: float | None = Field(
        default=None, ge=0, description="Seconds from the beginning of one iteration to the next."
    )
    time_limit: float | None = Field(
        default=None, gt=0, description="Seconds after which no iteration begins."
    )


class ForEachOptions(LoopOptions):
    parallel: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Items that run at once; as many as there are workers, where it is left out.",
    )
    batch: int | None = Field(
        default=None, ge=1, description="Gives the body lists of so many items."
    )
    on_item_error: Literal["fail", "skip", "collect"] | None = Field(
        default=None,
        description="What an item does that fails: fails the loop (fail, the default), is left out "
        "(skip), or is left out and listed in `errors` (collect).",
    )
    aligned: bool | None = Field(
        default=None,
        description="true gives lists with null where an item brought nothing.",
    )


class WhileOptions(LoopOptions):
    max_iterations: int | None = Field(
        default=None, ge=1, description="The most iterations; a `control.while` needs it."
    )


class CallOptions(BaseModel):
    """The settings of a node that calls a flow, beside those of any node."""

    model_config = ConfigDict(strict=True)
    flow: str | None = Field(
        default=None, description="The flow that it calls: the name of its file without `.json`."
    )
    variables: Literal["own", "shared"] | None = Field(
        default=None,
        description="Whose variables the flow that it calls uses: its own, new in each call (own, "
        "the default); or the caller's, where names and types are the same (shared).",
    )


OWN_OPTIONS: Mapping[str, type[BaseModel]] = {
    "control.for_each": ForEachOptions,
    "control.while": WhileOptions,
    "flow": CallOptions,
}
"""By the word that a drawing has as the node's type."""

FOR_AN_ACTOR = ("ray", "resident", "resident_ttl")
"""Settings that ask something of the actor that runs a node."""


def _kind(node: Node) -> str:
    """The node's type, where it is one that has, or might have, settings of its own."""
    if node.class_path == FLOW_CLASS:
        return "flow"
    return f"control.{node.region_kind}" if node.region_kind else ""


def _own_options(node: Node) -> type[BaseModel] | None:
    """The settings that a node of its class has beside those of any node."""
    return OWN_OPTIONS.get(_kind(node))


def settings_of(node: Node) -> set[str]:
    """The keys that a node's data may have as settings."""
    own = _own_options(node)
    return {*NodeOptions.model_fields, *(own.model_fields if own else ())}


class Settings(BaseModel):
    """Defaults for the nodes of a flow, and how values are kept."""

    model_config = ConfigDict(strict=True)
    retry: Retry | None = Field(
        default=None, description="For every node that has none of its own."
    )
    ray: Ray | None = Field(
        default=None, description="For every node, where the node does not say otherwise."
    )
    ends: Literal["first_return", "all_settled"] | None = Field(
        default=None,
        description="What ends a run: the first RETURN reached, and nothing starts after it "
        "(first_return, the default); or that all has run that can (all_settled), with the result "
        "of the first RETURN reached.",
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that a whole run may take. Then what is at work is ended, and the run "
        "has failed.",
    )
    durable: bool | None = Field(
        default=None,
        description="false keeps values in Ray's object store only: a failed run can then be run "
        "again as a whole, not from its failure.",
    )
    retry_lost: bool | None = Field(
        default=None,
        description="Whether a run whose process died (killed, the machine went down) is launched "
        "again and goes on where it was, at most three times. A run that a trigger started is in "
        "any case, until its first node runs.",
    )
    storage: str | None = Field(
        default=None,
        pattern=r"\S",
        description="Where values are stored: a folder, or a URL such as s3://bucket/folder, that "
        "the project's storages have.",
    )


class FlowOptions(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str | None = Field(default=None, description="The job's name; by default the file's.")
    description: str | None = Field(default=None, description="Shown on the job's page.")
    on_error: Literal["stop", "continue"] | None = Field(
        default=None,
        description="What a failing node does to the nodes that do not depend on it: none of "
        "them starts any more (stop, the default), or they go on (continue). The flow has failed "
        "either way.",
    )
    settings: Settings | None = Field(
        default=None, description="Defaults for all nodes, and how values are kept."
    )
    tags: dict[str, Any] | None = Field(default=None, description="Tags of every run.")


def node_options(flow: ResolvedFlow) -> Iterator[Finding]:
    for node in flow.nodes.values():
        given = {key: value for key, value in node.data.items() if key not in NODE_KEYS}
        own = _own_options(node)
        found = [*_option_problems(NodeOptions, given)]
        found += _option_problems(own, given) if own else ()
        for place, problem in found:
            message = f"node {node} data.{place}: {problem}"
            yield Finding("node_options", message, node=node.id)


def flow_options(flow: ResolvedFlow) -> Iterator[Finding]:
    for place, problem in _option_problems(FlowOptions, flow.data):
        yield Finding("flow_options", f"flow key {place}: {problem}")


def misspelled_option(flow: ResolvedFlow) -> Iterator[Finding]:
    """Keys that nobody reads, so like one that is read that they were meant to be it."""
    for key, meant in _slips(flow.data, FlowOptions, FLOW_KEYS):
        yield Finding("misspelled_option", _slip("flow key ", key, meant), "warning")
    settings: Any = flow.data.get("settings")
    if isinstance(settings, dict):
        for key, meant in _slips(settings, Settings):
            yield Finding("misspelled_option", _slip("flow key settings.", key, meant), "warning")
    for node in flow.nodes.values():
        own = _own_options(node)
        others = tuple(own.model_fields) if own else ()
        for key, meant in _slips(node.data, NodeOptions, others):
            message = _slip(f"node {node} data.", key, meant)
            yield Finding("misspelled_option", message, "warning", node=node.id)


def _slips(
    given: Mapping[str, Any], model: type[BaseModel], others: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    for key in given:
        meant = _meant(key, model, others)
        if meant is not None and meant not in given:
            yield key, meant


@lru_cache(maxsize=1024)  # all nodes have the same few keys
def _meant(key: str, model: type[BaseModel], others: tuple[str, ...]) -> str | None:
    """The known key that an unknown one is nearly."""
    known = [*model.model_fields, *others]
    return None if key in known else closest(key, {each: each for each in known}, _CLOSE)


def _slip(where: str, key: str, meant: str) -> str:
    return f"{where}{key}: nothing reads this key; did you mean '{meant}'?"


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with a project's ``settings``, each with its place."""
    return [f"{place}: {text}" for place, text in _option_problems(Settings, settings)]


def runtime_env(flow: ResolvedFlow) -> Iterator[Finding]:
    """A flow file that could choose its own environment could run any code."""
    for where, node_id, ray in _asked_of_ray(flow):
        if ray.get("runtime_env") is not None:
            yield Finding(
                "runtime_env",
                f"{where}.runtime_env: this project does not let flows choose their "
                "environment; put it into the node class's ray_options, or allow it with "
                "allow_runtime_env = true in [tool.rayflow_dagster] of pyproject.toml",
                node=node_id,
            )


def unlisted_storage(flow: ResolvedFlow, storages: Sequence[str]) -> Iterator[Finding]:
    """A flow file that could choose any place could write over what lies there, and have what lies
    there read as values of its own.
    """
    own: Any = flow.data.get("settings")
    place = own.get("storage") if isinstance(own, dict) else None
    if (
        isinstance(place, str)
        and place.strip()
        and not any(_is_within(place, each) for each in storages)
    ):
        yield Finding(
            "unlisted_storage",
            f"flow key settings.storage: '{place:.200}' is not among the storages of this project "
            f"({listed(storages)}); add it to storages in [tool.rayflow_dagster] of "
            "pyproject.toml, or leave it out",
        )


def _is_within(place: str, folder: str) -> bool:
    """Whether a path or URL is that of ``folder``, or of something in it."""
    inner, outer = (local_or_url(each).rstrip("/").split("/") for each in (place, folder))
    return inner[: len(outer)] == outer and ".." not in inner


def idle_option(flow: ResolvedFlow) -> Iterator[Finding]:
    """Options that a node class or a flow gives and that nothing follows."""
    of_classes = (
        (f"node {node} ray_options of its class", node.id, node.metadata.get("ray_options", {}))
        for node in flow.nodes.values()
        if node.metadata
    )
    for where, node_id, ray in (*_asked_of_ray(flow), *of_classes):
        if IDLE_OPTION in ray:
            yield Finding(
                "idle_option",
                f"{where}.{IDLE_OPTION}: it has no effect, as every execution has an actor of its "
                "own, and async nodes share one that takes a thousand; remove it, and give the "
                "node a pool to limit how many of its steps run at once",
                "warning",
                node=node_id,
            )


def _asked_of_ray(flow: ResolvedFlow) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """(place, node or None, options) of each "ray" in the flow."""
    return _asked_for("ray", flow, flow.data.get("settings"))


def _asked_for(
    key: str, flow: ResolvedFlow, settings: Any, place_of_settings: str = "flow key settings"
) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """(place, node or None, value) of each object under ``key`` in settings and nodes."""
    places: list[tuple[str, str | None, Any]] = [(place_of_settings, None, settings)]
    places += [(f"node {node} data", node.id, node.data) for node in flow.nodes.values()]
    for where, node_id, options in places:
        value = options.get(key) if isinstance(options, Mapping) else None
        if isinstance(value, dict):
            yield f"{where}.{key}", node_id, value


def _option_problems(model: type[BaseModel], given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) of the options that ``model`` knows."""
    chosen = {key: given[key] for key in model.model_fields if key in given}
    try:
        model.model_validate(chosen)
    except PydanticError as error:
        for item in error.errors():
            place = place_of(item["loc"])
            yield place, _option_problem(item, place)


def _option_problem(item: ErrorDetails, place: str) -> str:
    if item["type"] == "extra_forbidden":
        options = Ray if place.startswith(("ray.", "settings.ray.")) else Retry
        known = [name for name in options.model_fields if name != IDLE_OPTION]
        hint = did_you_mean(place.rpartition(".")[2], known)
        return f"there is no such option (known: {', '.join(known)}){hint}"
    if item["type"] == "string_pattern_mismatch":
        key = place.rpartition(".")[2].partition("[")[0]
        return f"must be {_TEXTS[key]}, not {preview(item['input'], 80)}"
    if item["type"] == "too_short" and place.endswith("retry_on"):
        return (
            'names no error; leave the key out to retry after all, or "retry" to retry after none'
        )
    return form_problem(item)


def unknown_error(flow: ResolvedFlow) -> Iterator[Finding]:
    """Names of errors to retry after that are nearly what Python or this package calls one."""
    of_flow: Any = flow.data.get("settings")
    is_own = isinstance(of_flow, Mapping) and of_flow.get("retry") is not None
    whose = "flow key settings" if is_own else "pyproject.toml [tool.rayflow_dagster.settings]"
    for where, node_id, retry in _asked_for("retry", flow, flow.settings, whose):
        names: Any = retry.get("retry_on")
        for name in names if isinstance(names, list) else ():
            meant = _meant_error(name) if isinstance(name, str) else None
            if meant is not None:
                yield Finding(
                    "unknown_error",
                    f"{where}.retry_on: no error of Python is called '{name:.80}', so it "
                    f"means nothing unless a class of yours is; did you mean '{meant}'?",
                    "warning",
                    node=node_id,
                )


@lru_cache(maxsize=1024)
def _meant_error(name: str) -> str | None:
    """The known name that another is nearly. One that begins as a class does may be a class."""
    if name in _ERRORS:
        return None
    meant = _ERRORS_BY_CASE.get(name.lower())
    if meant is None and name.islower() and "." not in name:
        meant = closest(name, {each: each.lower() for each in _ERRORS}, _CLOSE)
    return meant


_ERRORS = ["timeout", "crash"] + [
    name for name, each in vars(builtins).items()
    if isinstance(each, type) and issubclass(each, BaseException)
]  # fmt: skip
_ERRORS_BY_CASE = {name.lower(): name for name in _ERRORS}


def foreign_setting(flow: ResolvedFlow) -> Iterator[Finding]:
    """Settings that nodes of another type have. What only a call has is told of at built-in nodes
    alone: a node class's own editor may well use those words.
    """
    for node in flow.nodes.values():
        own = _own_options(node)
        known = own.model_fields if own else {}
        for key, kinds in _KINDS_WITH.items():
            if key in known or node.data.get(key) is None:
                continue
            if key in CallOptions.model_fields and not node.is_control:
                continue
            names = " and ".join(f"'{kind}'" for kind in kinds)
            here = f"a '{_kind(node)}'" if _kind(node) else "another node"
            yield Finding(
                "foreign_setting",
                f"node {node} data.{key}: this is a setting of {names}, and nothing follows it at "
                f"{here}; delete it",
                "warning",
                node=node.id,
            )


_KINDS_WITH = {
    key: [kind for kind, options in OWN_OPTIONS.items() if key in options.model_fields]
    for options in OWN_OPTIONS.values()
    for key in options.model_fields
}


def actor_setting(flow: ResolvedFlow) -> Iterator[Finding]:
    """What is asked of the actor of a node that has none."""
    for node in flow.nodes.values():
        if not (node.is_control or node.is_start or node.is_return):
            continue
        for key in (*FOR_AN_ACTOR, *(() if node.takes_timeout else ("timeout",))):
            if node.data.get(key) is None:
                continue
            others = "the nodes of its body" if node.region_kind else "the nodes that do the work"
            what = (
                "nothing that it does takes time" if key == "timeout" else
                "it is a setting of a node that runs on a Ray actor, and this one runs in the "
                "run's own process"
            )  # fmt: skip
            yield Finding(
                "actor_setting",
                f"node {node} data.{key}: {what}; delete it, or give it to {others}",
                "warning",
                node=node.id,
            )


OPTIONS = (
    node_options, flow_options, misspelled_option, unknown_error, idle_option, foreign_setting,
    actor_setting,
)  # fmt: skip
