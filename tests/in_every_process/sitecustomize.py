"""Imported by each Python process that a test starts: large imports in, few collections of garbage
and none at the end out.

Collections take two fifths of what a short process costs that imports Dagster and Ray.
"""

import atexit
import gc

gc.set_threshold(50_000, 20, 50)
atexit.register(gc.freeze)  # all that is left ends with the process
