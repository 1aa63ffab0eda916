import operator
from typing import Any

from rayflow_dagster.node import RayflowNode

_OPERATIONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class CompareNode(RayflowNode):
    """Compare two values. OPERATOR is one of == != < <= > >=."""

    icon = "fa-scale-balanced"
    category = "logic"
    inputs = {"a": "any", "b": "any"}
    outputs = {"result": bool}

    OPERATOR = "=="

    def process(self, a: Any, b: Any) -> dict[str, Any]:
        compare = _OPERATIONS.get(self.OPERATOR)
        if compare is None:
            known = " ".join(_OPERATIONS)
            raise ValueError(f"OPERATOR is {self.OPERATOR!r}; set it to one of {known}")
        # Libraries such as numpy compare to values of their own; this output is Python's bool.
        return {"result": bool(compare(a, b))}
