from rayflow_dagster.control_node import ControlNode


class CallNode(ControlNode):
    """Run another flow of the folder, named by `flow`, as one node.

    The inputs are what its START declares, the outputs what its RETURNs take. Of several RETURNs
    each is an exec output that is called by its label.
    """

    icon = "fa-diagram-project"
    category = "base"
