"""What the fork server imports: all that a run imports anyhow, except the author's code."""

import importlib
import pkgutil
from collections.abc import Iterator

OWN = "rayflow_dagster"

OTHERS = (
    "ray",
    # What Ray imports when a process connects. Not numpy: it starts threads when it is imported.
    "ray._common.pydantic_compat",
    "ray._common.usage.usage_lib",
    "ray._private.runtime_env.uv_runtime_env_hook",
    "starlette.concurrency",
    "dagster._cli.api",
    # What Dagster imports when an instance is opened, a code location loaded and a run executed:
    # found by comparing sys.modules before and after a run.
    "dagster._core.definitions.external_asset",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.executor.multiprocess",
    "dagster._core.instance.factory",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.migration.utils",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "dagster._core.types.primitive_mapping",
    "dagster._core.types.transform_typing",
    "dagster._core.utility_ops",
    "dagster._core.workspace.autodiscovery",
    "dagster._utils.temp_file",
    "dagster._utils.test.definitions",
    "upath.implementations.local",
    "fsspec.implementations.local",
    "watchdog.observers.polling",
)


def preload() -> None:
    """Import them. A module that another version of Dagster has not is left to the runs."""
    for name in (*OTHERS, *own_modules()):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            if name.partition(".")[0] == OWN:
                raise


def own_modules() -> Iterator[str]:
    """The modules of this package that a run may use."""
    package = importlib.import_module(OWN)
    for module in pkgutil.walk_packages(package.__path__, f"{OWN}."):
        if not module.name.startswith((f"{OWN}.__main__", f"{OWN}.cli", f"{OWN}.testing")):
            yield module.name
