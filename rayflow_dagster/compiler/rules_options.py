"""The rules about options: what a node's ``data`` and the flow's ``settings`` ask for."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from rayflow_dagster.suggest import did_you_mean

from .findings import Finding
from .resolved import ResolvedFlow

_TEXTS = {
    "pool": "the name of a pool, without spaces",
    "storage": "a folder or a URL such as s3://bucket/folder, or left out",
}
"""What is expected where a text has the wrong form."""

_CLOSE = 0.8
"""How like a known key an unknown one must be to be taken for a slip of the pen (0 to 1)."""


class _Retry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    max: int = Field(ge=0, le=1000)
    delay: float = Field(default=0.0, ge=0)
    backoff: Literal["linear", "exponential"] | None = None
    jitter: bool = False


class _Ray(BaseModel):
    """What ``RayflowNode.ray_options`` lists."""

    model_config = ConfigDict(extra="forbid", strict=True)
    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory: float | None = Field(default=None, ge=0)
    resources: dict[str, float] | None = None
    runtime_env: dict[str, Any] | None = None
    max_concurrency: int | None = Field(default=None, ge=1)


class _NodeOptions(BaseModel):
    """The per-node settings in ``data``; other keys belong to the editor."""

    model_config = ConfigDict(strict=True)
    label: str | None = None
    retry: _Retry | None = None
    ray: _Ray | None = None
    pool: str | None = Field(default=None, pattern=r"^\S+$")
    priority: int | None = None
    tags: dict[str, Any] | None = None
    description: str | None = None
    resident: bool | None = None
    resident_ttl: float | None = Field(default=None, gt=0)


class _Settings(BaseModel):
    """The ``settings`` of a flow or a project; other keys are others' business."""

    model_config = ConfigDict(strict=True)
    retry: _Retry | None = None
    ray: _Ray | None = None
    durable: bool | None = None
    storage: str | None = Field(default=None, pattern=r"\S")


class _FlowOptions(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str | None = None
    description: str | None = None
    on_error: Literal["stop", "continue"] | None = None
    settings: _Settings | None = None
    tags: dict[str, Any] | None = None


def node_options(flow: ResolvedFlow) -> Iterator[Finding]:
    for node in flow.nodes.values():
        for place, problem in _option_problems(_NodeOptions, node.data):
            message = f"node {node} data.{place}: {problem}"
            yield Finding("node_options", message, node=node.id)


def flow_options(flow: ResolvedFlow) -> Iterator[Finding]:
    for place, problem in _option_problems(_FlowOptions, flow.data):
        yield Finding("flow_options", f"flow key {place}: {problem}")


def misspelled_options(flow: ResolvedFlow) -> Iterator[Finding]:
    """Keys that nobody reads, so like one that is read that they were meant to be it."""
    for key, meant in _slips(flow.data, _FlowOptions):
        yield Finding("misspelled_option", _slip("flow key ", key, meant), "warning")
    settings: Any = flow.data.get("settings")
    if isinstance(settings, dict):
        for key, meant in _slips(settings, _Settings):
            yield Finding("misspelled_option", _slip("flow key settings.", key, meant), "warning")
    for node in flow.nodes.values():
        for key, meant in _slips(node.data, _NodeOptions):
            message = _slip(f"node {node} data.", key, meant)
            yield Finding("misspelled_option", message, "warning", node=node.id)


def _slips(given: Mapping[str, Any], model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    known = list(model.model_fields)
    for key in given:
        close = [] if key in known else get_close_matches(key, known, n=1, cutoff=_CLOSE)
        if close and close[0] not in given:
            yield key, close[0]


def _slip(where: str, key: str, meant: str) -> str:
    return f"{where}{key}: nothing reads this key; did you mean '{meant}'?"


def settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with a project's ``settings``, each with its place."""
    return [f"{place}: {text}" for place, text in _option_problems(_Settings, settings)]


def no_runtime_env(flow: ResolvedFlow) -> Iterator[Finding]:
    """A flow file that could choose its own environment could run any code."""
    settings: Any = flow.data.get("settings")
    places: list[tuple[str, str | None, Any]] = [("flow key settings", None, settings)]
    places += [(f"node {node} data", node.id, node.data) for node in flow.nodes.values()]
    for where, node_id, options in places:
        ray = options.get("ray") if isinstance(options, dict) else None
        if isinstance(ray, dict) and ray.get("runtime_env") is not None:
            yield Finding(
                "runtime_env",
                f"{where}.ray.runtime_env: this project does not let flows choose their "
                "environment; put it into the node class's ray_options, or allow it with "
                "allow_runtime_env = true in [tool.rayflow_dagster] of pyproject.toml",
                node=node_id,
            )


def _option_problems(model: type[BaseModel], given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) of the options that ``model`` knows."""
    chosen = {key: given[key] for key in model.model_fields if key in given}
    try:
        model.model_validate(chosen)
    except PydanticError as error:
        for item in error.errors(include_url=False, include_context=False):
            place = ".".join(str(part) for part in item["loc"])
            yield place, _option_problem(item["type"], item["msg"], item["input"], place)


def _option_problem(kind: str, message: str, given: Any, place: str) -> str:
    if kind == "extra_forbidden":
        options = _Ray if place.startswith(("ray.", "settings.ray.")) else _Retry
        known = list(options.model_fields)
        hint = did_you_mean(place.rpartition(".")[2], known)
        return f"there is no such option (known: {', '.join(known)}){hint}"
    if kind == "missing":
        return "is missing"
    if kind in ("model_type", "dict_type"):
        return f"must be an object with keys, {{...}}, not {given!r:.80}"
    if kind == "string_pattern_mismatch":
        return f"must be {_TEXTS[place.rpartition('.')[2]]}, not {given!r:.80}"
    return f"{message.lower()}, not {given!r:.80}"


OPTIONS = (node_options, flow_options, misspelled_options)
