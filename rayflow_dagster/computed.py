"""A constant ``{"$expr": "..."}`` of an input in, the value that its expression gives out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ExpressionError
from .expressions import Expression, compile_expression, evaluate

KEY = "$expr"


@dataclass(frozen=True, slots=True)
class Computed:
    """The value of an input that an expression gives, anew each time that its node runs."""

    text: str
    gives: str
    """The port type of the input."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """Name in the expression -> the input of the same node that has its value."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Name in the expression -> port type."""
    extra: tuple[str, ...] = ()
    """Those of ``reads`` that are there for it alone, and that the node's class does not have."""

    def value(self, port: str, inputs: Mapping[str, Any]) -> Any:
        """The value of the input ``port``, where the node's inputs have these values.

        Raises:
            ExpressionError: there is none.
        """
        where = f"input '{port}': "
        made = compile_expression(self.text, self.types, self.gives)
        if not isinstance(made, Expression):
            raise ExpressionError(self.text, "; ".join(map(str, made)), where)
        values = {name: inputs[read] for name, read in self.reads.items() if read in inputs}
        try:
            return evaluate(made, values)
        except ExpressionError as error:
            raise ExpressionError(self.text, error.reason, where) from None


def is_expression(value: Any) -> bool:
    """Whether a constant stands for what an expression gives, be it a right one or not."""
    return isinstance(value, Mapping) and value.keys() == {KEY}


def has_expression(value: Any) -> bool:
    """Whether ``$expr`` is a key anywhere in a JSON value."""
    layer = [value]
    for each in layer:  # to which the loop adds
        if isinstance(each, Mapping):
            if KEY in each:
                return True
            layer.extend(each.values())
        elif isinstance(each, list):
            layer.extend(each)
    return False
