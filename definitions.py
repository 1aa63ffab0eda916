from rayflow_dagster import build_definitions

defs = build_definitions("flows")
