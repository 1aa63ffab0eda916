"""``python -m rayflow_dagster`` is the ``rayflow-dagster`` command."""

from .cli import main

if __name__ == "__main__":
    main()
