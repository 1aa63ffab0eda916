"""The interface document's names and signatures. Further parameters are optional."""

import inspect

import pytest

import rayflow_dagster

DOCUMENTED = {
    "FlowValidator": {
        "__init__": "self",
        "validate": "self flow_data",
        "_check_single_start": "self flow_data",
        "_check_at_least_one_return": "self flow_data",
        "_check_all_nodes_reachable": "self flow_data",
        "_check_return_nodes_reachable": "self flow_data",
        "_check_no_cycles": "self flow_data",
        "_check_type_compatibility": "self flow_data",
    },
    "GraphBuilder": {
        "__init__": "self node_metadata_map",
        "build_graph": "self flow_data",
        "_build_dependency_graph": "self flow_data",
        "_topological_sort": "self dependencies",
        "_identify_special_nodes": "self flow_data",
    },
    "NodeLoader": {
        "__init__": "self",
        "load_node_class": "self class_path",
        "get_node_metadata": "self class_path",
        "load_all_metadata": "self flow_data",
    },
    "VariableStoreManager": {
        "__init__": "self",
        "create_store": "self initial_variables",
        "get_store_handle": "self",
        "cleanup": "self",
    },
    "ActorManager": {
        "__init__": "self node_loader variable_store",
        "create_actor": "self node_id class_path constants",
        "get_actor": "self node_id",
        "cleanup_actors": "self",
        "_configure_actor": "self actor constants",
    },
    "ExecutionPlanner": {
        "__init__": "self execution_graph",
        "get_next_nodes": "self current_state last_result",
        "_check_node_ready": "self node_id execution_state",
        "_get_exec_successors": "self node_id exec_output",
    },
    "DataGatherer": {
        "__init__": "self execution_graph",
        "gather_inputs": "self node_id execution_state",
        "_get_connected_outputs": "self node_id",
        "_apply_default_values": "self node_id inputs",
    },
    "NodeExecutor": {
        "__init__": "self actor_manager data_gatherer",
        "async execute_node": "self node_id execution_state",
        "async execute_nodes_parallel": "self node_ids execution_state",
        "_handle_execution_error": "self node_id error",
    },
    "StateTracker": {
        "__init__": "self execution_graph",
        "get_state": "self",
        "update_node_status": "self node_id status",
        "store_node_result": "self node_id result",
        "cache_output": "self node_id output_name value",
        "get_cached_output": "self node_id output_name",
        "is_complete": "self",
        "_initialize_state": "self",
    },
    "ErrorHandler": {
        "__init__": "self",
        "handle_node_error": "self node_id error execution_state",
        "should_continue": "self error_info",
        "get_error_report": "self",
        "format_error_message": "self error_info",
    },
    "FlowOrchestrator": {
        "__init__": "self",
        "async execute_flow": "self flow_data inputs",
        "_initialize": "self flow_data",
        "async _execution_loop": "self start_inputs",
        "_finalize": "self",
    },
}
METHODS = [(name, *entry) for name, methods in DOCUMENTED.items() for entry in methods.items()]
EXCEPTIONS = (
    "ValidationError GraphBuildError NodeLoadError DataNotAvailableError NodeExecutionError"
)


@pytest.mark.parametrize(("class_name", "method", "documented"), METHODS)
def test_a_method_takes_what_the_document_says(class_name, method, documented):
    function = getattr(getattr(rayflow_dagster, class_name), method.removeprefix("async "))
    assert inspect.iscoroutinefunction(function) == method.startswith("async ")
    names = documented.split()
    parameters = list(inspect.signature(function).parameters.values())
    assert [parameter.name for parameter in parameters[: len(names)]] == names
    assert all(parameter.default is not parameter.empty for parameter in parameters[len(names) :])
    required = parameters[1 : len(names)]
    assert all(parameter.default is parameter.empty for parameter in required)


@pytest.mark.parametrize("name", EXCEPTIONS.split())
def test_an_exception_of_the_document_exists(name):
    assert issubclass(getattr(rayflow_dagster, name), Exception)


def test_a_node_execution_error_is_as_documented():
    original = ValueError("no")
    error = rayflow_dagster.NodeExecutionError("n1", original)
    assert (error.node_id, error.original_error) == ("n1", original)
    assert str(error) == "Node n1 failed: no"


def test_an_orchestrator_has_the_documented_parts():
    parts = (
        "validator node_loader graph_builder variable_manager actor_manager execution_planner "
        "data_gatherer node_executor state_tracker error_handler"
    )
    orchestrator = rayflow_dagster.FlowOrchestrator()
    assert all(hasattr(orchestrator, part) for part in parts.split())
