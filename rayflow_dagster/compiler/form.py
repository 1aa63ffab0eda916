"""One of pydantic's errors in; where in a flow it is, or what is wrong there, out."""

from collections.abc import Sequence

from pydantic_core import ErrorDetails

from rayflow_dagster.values.preview import preview


def place_of(location: Sequence[int | str]) -> str:
    """``sensors[0].path``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def form_problem(item: ErrorDetails) -> str:
    """What is wrong there."""
    given = preview(item["input"], 80)
    match item["type"]:
        case "missing":
            return "is missing"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"must be an object with keys, {{...}}, not {given}"
        case "list_type":
            return f"must be a list, [...], not {given}"
    return f"{item['msg'].lower()}, not {given}"
