"""``RayflowNode``: what an author of a node subclasses."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar, Protocol


class VariableAccess(Protocol):
    """What ``self.variables`` offers inside ``process``: the flow's variables.

    Every call is atomic; parallel nodes see each other's writes. All of them raise
    ``VariableError`` for a variable that the flow does not declare, and the writing ones also for
    a read-only variable or a value of another type.
    """

    def get(self, name: str) -> Any:
        """The value of variable ``name``."""

    def set(self, name: str, value: Any) -> None:
        """Replace the value of variable ``name``."""

    def increment(self, name: str, by: float = 1) -> Any:
        """Add ``by`` to variable ``name`` and return the new value."""

    def update(self, name: str, function: Callable[[Any], Any]) -> Any:
        """Replace the value by ``function(value)`` and return the new value.

        The function runs inside the store, so it must not use ``self.variables`` itself.
        """


_OF_RUN = ("log", "variables", "_take_how_far")


class RayflowNode:
    """A node class: what it takes, what it gives, what it does.

    ::

        class WordCountNode(RayflowNode):
            '''Count the words of a text.'''

            inputs = {"text": str, "minimum": {"type": int, "default": 1}}
            outputs = {"count": int}
            LOWERCASE = True  # a constant, editable per node in the flow

            def process(self, text: str, minimum: int) -> dict:
                return {"count": sum(len(word) >= minimum for word in text.split())}

    ``process`` gets one keyword argument per input and returns a dict with every output. It may
    be ``async``. Upper-case class attributes are constants; a flow may override them per node.
    An object of the class lives for one execution, that of a ``resident`` class longer.
    """

    inputs: ClassVar[dict[str, Any]] = {}
    """``{name: type}``, or ``{name: {"type": type, "default": value, "description": text}}``."""
    outputs: ClassVar[dict[str, Any]] = {}
    """``{name: type}``."""
    exec_input: ClassVar[bool] = True
    """Whether exec edges may lead into the node."""
    exec_output: ClassVar[bool] = True
    """Whether exec edges may leave the node."""
    exec_outputs: ClassVar[tuple[str, ...]] = ()
    """Names of the exec outputs; empty means the one called ``exec_out``. A node that names its
    own returns the reserved key ``exec_next`` (a name or a list of names) to say which fire."""
    exec_exclusive: ClassVar[bool | None] = None
    """True promises that at most one of ``exec_outputs`` fires in a run, which lets the data of
    its branches be merged into one input. None: decided by reading ``process``."""
    icon: ClassVar[str] = ""
    category: ClassVar[str] = ""
    description: ClassVar[str] = ""
    """Empty means the docstring."""
    ray_options: ClassVar[dict[str, Any]] = {}
    """What Ray must give the node: ``num_cpus``, ``num_gpus``, ``memory`` (bytes), ``resources``,
    ``runtime_env``."""
    resident: ClassVar[bool] = False
    """True keeps the node's actor for the next run of the flow, with the object and all that it
    holds, such as a loaded model."""
    resident_ttl: ClassVar[float] = 600.0
    """Seconds without work after which the actor of a resident node ends."""

    passes_secrets_on: ClassVar[bool] = False
    """True leaves secrets among the inputs, constants and variables as the references they are."""

    node_id: str = ""
    log: logging.Logger | logging.LoggerAdapter[logging.Logger] = logging.getLogger("rayflow")
    """Records appear in the Dagster run log, at the node's step."""
    variables: VariableAccess
    _take_how_far: Callable[[float, float | None, str], None] | None = None

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Tell how far ``process`` has come: ``self.progress(40, 200, "pages read")``.

        The step shows the last state, the run's log one every few seconds, the terminal a bar.
        Calls are cheap: make one for every item. ``total`` is None where nobody knows it.

        Raises:
            ValueError: ``done`` or ``total`` is no number.
        """
        if self._take_how_far is not None:
            self._take_how_far(done, total, text)

    def __getstate__(self) -> dict[str, Any]:
        """What travels with a function that uses ``self``: nothing of what leads to the run."""
        return {key: value for key, value in vars(self).items() if key not in _OF_RUN}

    def process(self, *args: Any, **inputs: Any) -> Any:
        """Do the node's work: inputs by name in, a dict of outputs (or an awaitable of it) out."""
        raise NotImplementedError(f"{type(self).__name__} does not define process()")
