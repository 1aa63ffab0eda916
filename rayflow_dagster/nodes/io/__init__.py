"""Files and HTTP. Relative paths start at the folder in which the flow runs."""
