"""Reading and writing the variables that a flow declares."""
