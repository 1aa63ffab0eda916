from rayflow_dagster.control_node import RegionNode


class GroupNode(RegionNode):
    """Run the body once, as one: what fails in it fires the group's `error`, and a `retry` holds
    for the whole of it. `always` fires when the body has ended, whatever came of it, also where the
    flow is about to fail; `error` then tells why, and what the body brought is there.
    """

    icon = "fa-object-group"
    category = "control"
    outputs = {"error": "dict"}
    exec_outputs = ("body", "done", "always")
    region_kind = "group"
