"""The job that stands for a flow that cannot run."""

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
    in_process_executor,
)

from rayflow_dagster.errors import RayflowError, ValidationError

from .jobs import FLOW_TAG

BROKEN_TAG = "rayflow/broken"
FILE_METADATA = "flow file"
FINDINGS_METADATA = "findings"


def build_broken_job(name: str, findings: list[str], file: str | None = None) -> JobDefinition:
    """The job that stands for a flow that cannot run: it lists what is wrong, and fails with it
    when launched.
    """
    error = ValidationError(findings, file or name)

    def refuse(_context: OpExecutionContext, _inputs: Any) -> Any:
        raise Failure(str(error), allow_retries=False)
        yield  # a computation is a generator

    listed = "\n".join(f"- {finding}" for finding in findings)
    description = f"**This flow cannot run.** File: `{file}`.\n\n{listed}"
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
        tags={BROKEN_TAG: "true", FLOW_TAG: name},
        metadata={
            FILE_METADATA: MetadataValue.path(file or name),
            FINDINGS_METADATA: MetadataValue.json(findings),
        },
    )


def findings_of(error: RayflowError) -> list[str]:
    """The findings that an error carries, or its text."""
    return error.findings if isinstance(error, ValidationError) else [str(error)]
