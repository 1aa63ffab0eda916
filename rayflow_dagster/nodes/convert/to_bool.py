from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.secrets.lookup import FALSE, TRUE, truth
from rayflow_dagster.values.preview import preview


class ToBoolNode(RayflowNode):
    """A truth value: of true, yes, on, 1 and false, no, off, 0, in any case. All else is refused.

    So an empty text and the number 2 are no truth values.
    """

    icon = "fa-toggle-on"
    category = "convert"
    inputs = {"value": bool | int | str}
    outputs = {"value": bool}

    def process(self, value: Any) -> dict[str, Any]:
        found = truth(value) if isinstance(value, str) else _BOOLS.get(value)
        if found is None:
            words = ", ".join(f"{yes} or {no}" for yes, no in zip(TRUE, FALSE, strict=True))
            raise ValueError(f"{preview(value, 80)} is no truth value: write {words}")
        return {"value": found}


_BOOLS = {0: False, 1: True}
