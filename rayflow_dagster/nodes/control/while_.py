from rayflow_dagster.control_node import RegionNode


class WhileNode(RegionNode):
    """Run the body again as long as it wires true into `again`, `max_iterations` times at most.
    What one time hands to the next is declared under `carry`. `exhausted` fires where the limit
    ended the loop; where that is not wired, the loop fails then.
    """

    icon = "fa-arrows-rotate"
    category = "control"
    outputs = {"index": "int", "count": "int"}
    exec_outputs = ("body", "done", "exhausted")
    region_kind = "while"
