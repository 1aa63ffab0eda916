"""Work that is done on one thread."""

import threading
import weakref
from functools import partial

from rayflow_dagster.actors.serial_thread import SerialThread


class Held:
    """Stands for an output."""


def test_what_work_holds_is_let_go_of_when_it_is_done() -> None:
    thread = SerialThread("test-serial")
    held = Held()
    seen = weakref.ref(held)
    gone = threading.Event()
    weakref.finalize(held, gone.set)
    thread.do(partial(isinstance, held, Held))
    del held
    assert gone.wait(60)
    assert seen() is None
    thread.close(lambda: None)
