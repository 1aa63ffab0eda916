from pathlib import Path

from rayflow_dagster import build_definitions

defs = build_definitions(Path(__file__).with_name("flows"))
