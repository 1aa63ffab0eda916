"""Dull nodes for tests: so dull that only the wiring of a flow can fail."""
