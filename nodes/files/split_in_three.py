from typing import Any

from rayflow_dagster import RayflowNode


class SplitInThreeNode(RayflowNode):
    """Deal a list of paths out to three groups, so that three nodes can work at once."""

    icon = "fa-diagram-project"
    category = "files"
    inputs = {"paths": list[str]}
    outputs = {"first": list[str], "second": list[str], "third": list[str]}

    def process(self, paths: list[str]) -> dict[str, Any]:
        return {"first": paths[0::3], "second": paths[1::3], "third": paths[2::3]}
