"""Imported by the process that ``multiprocessing`` forks others from: all that a run imports.

Python 3.11 gives that process no ``sys.path`` but that of PYTHONPATH.
"""

import gc

from rayflow_dagster.instance.preload import preload

preload()
gc.collect()
gc.freeze()
