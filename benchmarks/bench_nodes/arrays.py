from typing import Any

import numpy

from rayflow_dagster import RayflowNode


class MakeArrayNode(RayflowNode):
    """An array of MEGABYTES (of 2**20 bytes)."""

    outputs = {"array": "any"}
    MEGABYTES = 512

    def process(self) -> dict[str, Any]:
        return {"array": numpy.ones(self.MEGABYTES * 2**17)}


class PassArrayNode(RayflowNode):
    """Read one number of an array, and pass the array on."""

    inputs = {"array": "any"}
    outputs = {"array": "any"}

    def process(self, array: Any) -> dict[str, Any]:
        assert array[-1] == 1.0
        return {"array": array}


class NewArrayNode(RayflowNode):
    """Make another array from an array."""

    inputs = {"array": "any"}
    outputs = {"array": "any"}

    def process(self, array: Any) -> dict[str, Any]:
        return {"array": array + 1.0}
