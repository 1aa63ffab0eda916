"""The variables of a run, and what a flow keeps of them for its next run."""
