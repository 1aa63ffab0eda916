"""What ``dagster.yaml`` names: the parts of a Dagster instance that this package brings."""
