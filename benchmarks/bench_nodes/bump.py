from rayflow_dagster import RayflowNode


class BumpNode(RayflowNode):
    """A number and one more: the trivial node."""

    inputs = {"value": int}
    outputs = {"value": int}

    def process(self, value: int) -> dict[str, int]:
        return {"value": value + 1}
