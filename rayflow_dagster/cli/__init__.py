"""The ``rayflow-dagster`` command.

``commands.py`` lists what can be typed; each command's work stands in a module of its own, which
is imported when the command runs, so that ``--help`` imports neither ray nor dagster.
"""

from .commands import main

__all__ = ["main"]
