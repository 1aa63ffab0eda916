"""Nodes that hand on large values and say whether they got them without a copy."""

from typing import Any

import numpy
import pandas
import pyarrow

from rayflow_dagster import RayflowNode

ROWS = 200_000


class MakeLargeNode(RayflowNode):
    """Make a large value of the KIND."""

    outputs = {"value": "any"}
    KIND = "array"

    def process(self) -> dict[str, Any]:
        array = numpy.arange(ROWS, dtype=numpy.float64)
        makers = {
            "array": lambda: array,
            "table": lambda: pyarrow.table({"x": array}),
            "frame": lambda: pandas.DataFrame({"x": array}),
        }
        return {"value": makers[self.KIND]()}


class IsSharedNode(RayflowNode):
    """Whether the memory of a value is the object store's, which nobody may write to."""

    inputs = {"value": "any"}
    outputs = {"shared": bool, "sum": float}

    def process(self, value: Any) -> dict[str, Any]:
        if isinstance(value, pyarrow.Table):
            buffer = value["x"].chunks[0].buffers()[1]
            return {"shared": not buffer.is_mutable, "sum": value["x"].to_numpy().sum()}
        array = value if isinstance(value, numpy.ndarray) else value["x"].to_numpy()
        base = array
        while isinstance(base, numpy.ndarray) and base.base is not None:
            base = base.base
        writeable = isinstance(base, numpy.ndarray) and base.flags.writeable
        return {"shared": not writeable, "sum": float(array.sum())}
