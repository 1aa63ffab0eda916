"""The job that stands for a flow that cannot run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    Failure,
    GraphDefinition,
    In,
    JobDefinition,
    MetadataValue,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    PartitionedConfig,
    in_process_executor,
)

from rayflow_dagster.errors import RayflowError, ValidationError

from .jobs import FLOW_TAG
from .last_form import LastForm

BROKEN_TAG = "rayflow/broken"
FILE_METADATA = "flow file"
FINDINGS_METADATA = "findings"


@dataclass(frozen=True, slots=True)
class BrokenFlow:
    """A flow that cannot run. ``form``: what Dagster last knew of it, under which it goes on."""

    form: LastForm
    findings: Sequence[str]
    file: str

    @property
    def error(self) -> ValidationError:
        """What is wrong with it."""
        return ValidationError(list(self.findings), self.file)


def build_broken_job(flow: BrokenFlow) -> JobDefinition:
    """The job that stands for a flow that cannot run: it lists what is wrong, and fails with it
    when launched.
    """
    name = flow.form.job

    def refuse(_context: OpExecutionContext, _inputs: Any) -> Any:
        raise Failure(str(flow.error), allow_retries=False)
        yield  # a computation is a generator

    listed = "\n".join(f"- {finding}" for finding in flow.findings)
    description = f"**This flow cannot run.** File: `{flow.file}`.\n\n{listed}"
    op = OpDefinition(
        compute_fn=refuse,
        name=f"{name}_cannot_run",
        ins={"nothing": In(Nothing)},
        outs={"nothing": Out(Nothing, is_required=False)},
        description=description,
    )
    graph = GraphDefinition(name=name, node_defs=[op], description=description)
    return graph.to_job(
        executor_def=in_process_executor,
        description=description,
        config=_refusing_parts(flow),
        tags={BROKEN_TAG: "true", FLOW_TAG: name},
        metadata={
            FILE_METADATA: MetadataValue.path(flow.file),
            FINDINGS_METADATA: MetadataValue.json(list(flow.findings)),
        },
    )


def _refusing_parts(flow: BrokenFlow) -> PartitionedConfig[Any] | None:
    """The flow's parts, for which no run can be made: a backfill that goes on meanwhile tries
    again for some minutes, where runs that fail would use it up.
    """

    def refuse(_part: str) -> dict[str, Any]:
        raise flow.error

    parts = flow.form.partitions
    return (
        None if parts is None else PartitionedConfig(parts, run_config_for_partition_key_fn=refuse)
    )


def findings_of(error: RayflowError) -> list[str]:
    """The findings that an error carries, or its text."""
    return error.findings if isinstance(error, ValidationError) else [str(error)]
