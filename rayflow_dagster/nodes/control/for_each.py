from rayflow_dagster.control_node import RegionNode


class ForEachNode(RegionNode):
    """Run the body once for each of the `items`, several side by side. Inside, `item` and `index`
    (from 0) are this time's; outside, `count` says how many were run, and `errors` lists those
    that failed where `on_item_error` is "collect". A value that leaves the body is the list of what
    came.
    """

    icon = "fa-rotate"
    category = "control"
    inputs = {"items": "list"}
    outputs = {"item": "any", "index": "int", "count": "int", "errors": "list[dict]"}
    exec_outputs = ("body", "done")
    region_kind = "for_each"
