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
    in_process_executor,
)

from rayflow_dagster.errors import RayflowError, ValidationError

from .jobs import FLOW_TAG
from .labels import BROKEN_TAG, FILE_METADATA, FINDINGS_METADATA
from .last_form import LastForm


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
    when launched. A backfill waits meanwhile, see ``PromptRunCoordinator``.
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
        partitions_def=flow.form.partitions,
        tags={BROKEN_TAG: "true", FLOW_TAG: name},
        metadata={
            FILE_METADATA: MetadataValue.path(flow.file),
            FINDINGS_METADATA: MetadataValue.json(list(flow.findings)),
        },
    )


def findings_of(error: RayflowError) -> list[str]:
    """The findings that an error carries, or its text."""
    return error.findings if isinstance(error, ValidationError) else [str(error)]
