"""Where a flow splits, and where it says itself that it has failed."""
