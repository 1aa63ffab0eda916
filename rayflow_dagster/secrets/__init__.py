"""A reference in, its value where a node runs, its name everywhere else."""

from .references import Secret

__all__ = ["Secret"]
