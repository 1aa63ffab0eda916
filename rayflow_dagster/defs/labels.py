"""What Dagster's job of a flow that cannot run is known by, for processes without Dagster, too."""

BROKEN_TAG = "rayflow/broken"
"""The job that stands for a flow that cannot run has it."""
FILE_METADATA = "flow file"
FINDINGS_METADATA = "findings"
