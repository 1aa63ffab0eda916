"""Names of cases in, what keeps them from being exec outputs out."""

import re
from collections.abc import Iterator, Sequence

from rayflow_dagster.types import ERROR_PORT, EXEC_IN, EXEC_OUT

DEFAULT = "default"
MOST = 100
"""Cases of a node, and characters of a case."""
_LEGAL = re.compile(
    rf"(?!exec-|input-|output-)[A-Za-z0-9_]([A-Za-z0-9_ .-]{{0,{MOST - 2}}}[A-Za-z0-9_])?"
)
_TAKEN = {
    DEFAULT: "fires where no case does",
    ERROR_PORT: "fires where the node fails",
    EXEC_OUT: "is the exec output of other nodes",
    EXEC_IN: "is the exec input",
}


def case_problems(names: Sequence[str]) -> Iterator[str]:
    """What is wrong with the names of a node's cases."""
    if not names:
        yield "has no case; add one, or leave the node out"
    if len(names) > MOST:
        yield f"has {len(names):,} cases; a node may have {MOST}"
    seen: dict[str, str] = {}
    for name in names[:MOST]:
        if name in _TAKEN:
            yield f"no case can be called '{name}', which {_TAKEN[name]}; call it differently"
        elif not _LEGAL.fullmatch(name):
            yield (
                f"'{name:.80}' cannot be an exec output: ASCII letters, digits and _ can, with "
                f"spaces, dots and - between them, {MOST} characters at most"
            )
        # Dagster's name of the output has letters, digits and _ alone.
        other = seen.setdefault(re.sub(r"\W", "_", name), name)
        if other is not name:
            yield f"'{other}' and '{name}' are too alike for two exec outputs; rename one"
