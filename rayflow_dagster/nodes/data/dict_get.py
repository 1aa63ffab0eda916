from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.suggest import did_you_mean


class DictGetNode(RayflowNode):
    """Take one value out of a dict by its key.

    When the key is missing, the result is `default`. Without a default (or with None) the node
    fails, unless OPTIONAL is true: then the result is None.
    """

    icon = "fa-key"
    category = "data"
    inputs = {"data": dict, "key": str, "default": {"type": "any", "default": None}}
    outputs = {"value": "any"}

    OPTIONAL = False

    def process(self, data: dict[str, Any], key: str, default: Any) -> dict[str, Any]:
        if key in data:
            return {"value": data[key]}
        if default is None and not self.OPTIONAL:
            hint = did_you_mean(key, map(str, data))
            raise KeyError(f"the dict has no key {key!r}, and no default is given{hint}")
        return {"value": default}
