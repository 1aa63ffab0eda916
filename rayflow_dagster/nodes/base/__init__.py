"""Where a flow begins and where it ends."""
