"""A class in; what makes Ray actors of it, out."""

from functools import cache
from typing import Any

import ray


@cache
def remote_class(kind: type) -> Any:
    """Made when it is first used, and never when a module is imported: Ray draws a random id for
    it, and all processes forked from one that has drawn an id go on to draw the same ones.
    """
    return ray.remote(kind)
