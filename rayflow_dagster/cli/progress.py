"""A run on the terminal: each node as it settles, then what came of it."""

from rich.console import Console
from rich.status import Status
from rich.text import Text

from rayflow_dagster.encodable import plain
from rayflow_dagster.suggest import listed

from .report import RAN, NodeReport, RunReport, last_frame
from .terminal import indented, one_line, styled, value_text

FEW_LINES = 10
BAR_WIDTH = 20
INDENT = " " * 10
WORDS = {
    "completed": ("ok", "green"),
    "skipped": ("skipped", "dim"),
    "failed": ("failed", "red"),
    "stopped": ("stopped", "yellow"),
}
LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class Progress:
    """Prints nodes as they settle; on a terminal it also shows which ones run now."""

    def __init__(self, console: Console, labels: list[str], *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose
        widths = [Text(one_line(label)).cell_len for label in labels]
        self._width = min(40, max(widths, default=0))
        self._running: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        self._logged: dict[str, int] = {}
        self._last: str | None = None
        self._status: Status = console.status("")

    def __enter__(self) -> "Progress":
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def waiting(self, for_what: str) -> None:
        """Say what the run waits for."""
        self._status.update(Text(for_what))

    def started(self, node: NodeReport) -> None:
        self._running[node.id] = one_line(node.label)
        self._show_running()

    def retrying(self, node: NodeReport, reason: str) -> None:
        self._line("retry", "yellow", node, one_line(reason))

    def settled(self, node: NodeReport) -> None:
        self._running.pop(node.id, None)
        word, style = WORDS[node.status]
        about = [] if node.seconds is None else [duration(node.seconds)]
        about += [f"\u2192 {', '.join(node.fired)}"] if node.fired != ["exec_out"] else []
        self._line(word, style, node, "  ".join(part for part in about if part != "\u2192 "))
        self.logged(node)
        self.printed(node, node.printed)
        if node.handled is not None:
            frames = f"\n{node.handled.traceback}" if self._verbose else ""
            self._beneath(node, f"handled: {node.handled.text}{frames}", "WARNING")
        self._show_running()

    def logged(self, node: NodeReport) -> None:
        for level, message in node.logs[self._logged.get(node.id, 0) :]:
            self._beneath(node, message if level == "INFO" else f"{level} {message}", level)
        self._logged[node.id] = len(node.logs)

    def progressed(self, node: NodeReport, text: str, share: float | None) -> None:
        if node.id in self._running:
            full = None if share is None else round(min(1.0, max(0.0, share)) * BAR_WIDTH)
            bar = "" if full is None else f"{'━' * full}{'╌' * (BAR_WIDTH - full)} "
            self._running[node.id] = f"{one_line(node.label)} {bar}{one_line(text)}"
            self._show_running()

    def printed(self, node: NodeReport, text: str) -> None:
        if text.strip():
            self._beneath(node, text.rstrip("\n"))

    def _line(self, word: str, style: str, node: NodeReport, about: str) -> None:
        line = Text.assemble("  ", (f"{word:<8}", style))
        label = Text(one_line(node.label))
        label.pad_right(self._width - label.cell_len if about else 0)
        line.append_text(label)
        line.append(f"  {about}" if about else "")
        self._console.print(line)
        self._last = node.id

    def _beneath(self, node: NodeReport, text: str, level: str = "INFO") -> None:
        """Lines of a node under its own line, a few of them unless all are wanted."""
        if self._last != node.id:
            self._console.print(styled(f"  from {one_line(node.label)}:", "dim"))
            self._last = node.id
        lines = text.splitlines()
        room = max(0, FEW_LINES - self._lines.get(node.id, 0))
        kept = lines if self._verbose else lines[:room]
        had = self._lines.get(node.id, 0)
        self._lines[node.id] = had + len(lines)
        if kept:
            self._console.print(styled(indented("\n".join(kept), INDENT), LEVELS.get(level, "dim")))
        if len(kept) < len(lines) and had <= FEW_LINES:
            self._console.print(styled(f"{INDENT}... more lines: -v shows them all", "dim"))

    def _show_running(self) -> None:
        labels = list(self._running.values())
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        running = "running " + ", ".join(labels[:3]) + more if labels else ""
        self._status.update(Text(plain(running)))  # text, not markup: labels are the author's


class NoProgress:
    """Watches without a word."""

    def started(self, node: NodeReport) -> None:
        """Say nothing."""

    def retrying(self, node: NodeReport, reason: str) -> None:
        """Say nothing."""

    def settled(self, node: NodeReport) -> None:
        """Say nothing."""

    def logged(self, node: NodeReport) -> None:
        """Say nothing."""

    def progressed(self, node: NodeReport, text: str, share: float | None) -> None:
        """Say nothing."""

    def printed(self, node: NodeReport, text: str) -> None:
        """Say nothing."""


def print_outcome(console: Console, errors: Console, report: RunReport, *, verbose: bool) -> None:
    """The result, or what went wrong, and where to see the run."""
    if report.result:
        console.print(styled("result", "bold"))
        for name, value in report.result.items():
            console.print(Text(f"  {one_line(str(name))}: {value_text(value)}"))
    _print_faults(errors, report, verbose=verbose)
    ran, skipped = len(report.of(*RAN)), len(report.of("skipped"))
    pending = len(report.of("pending"))
    counts = [f"{ran} node{'' if ran == 1 else 's'} ran"]
    handled = sum(node.handled is not None for node in report.nodes)
    counts += [f"{handled} failed and handled"] * bool(handled)
    counts += [f"{skipped} skipped"] * bool(skipped) + [f"{pending} did not run"] * bool(pending)
    word, style = _verdict(report)
    line = Text(f"{word} in {duration(report.execution_time)}", style=style)
    console.print(line.append(f": {', '.join(counts)}", style="default"))


def duration(seconds: float) -> str:
    """Seconds for people: ``3 ms``, ``1.20 s``, ``2 min 5 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _verdict(report: RunReport) -> tuple[str, str]:
    if report.stopped:
        return "stopped", "bold yellow"
    return ("succeeded", "bold green") if report.success else ("failed", "bold red")


def _print_faults(errors: Console, report: RunReport, *, verbose: bool) -> None:
    failed = [node for node in report.of("failed") if node.fault]
    for node in failed:
        name = f" ({one_line(node.label)})" if node.label != node.id else ""
        name += f", attempt {node.attempts}" if node.attempts > 1 else ""
        fault = node.fault.text if node.fault else ""
        line = Text("Error: ", style="bold red")
        errors.print(line.append(f"node '{node.id}'{name}: {fault}", style="default"))
        _print_details(errors, node, verbose=verbose)
    if report.error and not failed and not report.stopped:
        line = Text("Error: ", style="bold red")
        errors.print(line.append(report.error, style="default"))


def _print_details(errors: Console, node: NodeReport, *, verbose: bool) -> None:
    fault = node.fault
    if fault is None:
        return
    if fault.input_lines():
        errors.print(Text(f"  with\n{indented(fault.input_lines(), '    ')}"))
    frames = fault.traceback if verbose else last_frame(fault.traceback)
    if frames:
        errors.print(Text(f"  at\n{indented(frames, '    ')}"))
    if node.behind:
        behind = listed([one_line(label) for label in node.behind])
        errors.print(Text(f"  not run for it\n    {behind}"))
