"""The variables of a run, and what a flow keeps of them for its next run.

What runs of 0.3.0 have stored names ``Snapshot`` here.
"""

from .store import Snapshot

__all__ = ["Snapshot"]
