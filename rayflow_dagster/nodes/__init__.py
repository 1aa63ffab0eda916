"""Built-in nodes, one file each, by category."""
