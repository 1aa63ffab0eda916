"""What every benchmark uses: side-by-side timing, Dagster homes, a private Ray, and the report.

A benchmark measures both sides in one process, in alternating repetitions, and compares medians:
a machine that is slow for a minute is slow for both. ``--quick`` (or ``BENCH_QUICK=1``) makes
everything small: it checks that a benchmark works, its figures mean nothing.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dagster import DagsterInstance

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
RESULTS = REPOSITORY / "out" / "benchmarks"
REST_SECONDS = 20.0
QUIET = "telemetry: {enabled: false}\n"

# Dagster starts processes that import the benchmarks' own modules again; Ray's workers too.
sys.path[:0] = [path for path in (str(BENCHMARKS),) if path not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# What Dagster and Ray start by name is found as in an activated environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
for _name in ("RAY_ADDRESS", "DAGSTER_HOME"):  # the user's own are no part of this
    os.environ.pop(_name, None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a benchmark's table.

    ``ours`` and ``theirs`` are medians in ``unit``; ``theirs`` is what ours is compared with.
    ``target``: the most that ours / theirs may be; None where a figure is told but not judged.
    """

    question: str
    ours: float
    theirs: float | None = None
    target: float | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        """How many times theirs ours is."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target


def is_quick(description: str | None) -> bool:
    """Read the command line of a benchmark: whether everything is to be small."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; figures mean nothing")
    return parser.parse_args().quick or os.environ.get("BENCH_QUICK", "0") not in ("", "0")


def alternate(
    cases: Mapping[str, Callable[[], float | None]], repeat: int
) -> dict[str, list[float]]:
    """Run every case ``repeat`` times, in turns, and in the other direction every other time.

    A case that returns a number has measured its seconds itself; else its call is timed.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeat):
        for name in list(cases) if turn % 2 == 0 else reversed(list(cases)):
            started = time.perf_counter()
            own = cases[name]()
            seconds = time.perf_counter() - started
            found[name].append(seconds if own is None else own)
            progress(f"{name}: {found[name][-1]:.3f}")
    return found


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each case."""
    return {name: statistics.median(values) for name, values in found.items()}


def progress(text: str) -> None:
    """Say on a terminal what was just measured; the table goes to standard output."""
    if sys.stderr.isatty():
        print(f"  {text}", file=sys.stderr)


def report(
    name: str,
    rows: Sequence[Row],
    *,
    quick: bool,
    measured: Mapping[str, Sequence[float]] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print the table and write ``out/benchmarks/<name>.json`` (a quick one: ``quick-<name>``)."""
    print(f"\n{name}{' (quick: the figures mean nothing)' if quick else ''}")
    head = ("question", "ours", "theirs", "ratio", "target", "met?")
    lines = [head, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        first, *rest = (
            text.ljust(width) if not column else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())
    for note in notes:
        print(f"note: {note}")
    document = {
        "name": name,
        "quick": quick,
        "machine": machine(),
        "rows": [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows],
        "measured": {case: list(values) for case, values in (measured or {}).items()},
        "notes": list(notes),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{'quick-' if quick else ''}{name}.json"
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.flush()


def cells(row: Row) -> tuple[str, str, str, str, str, str]:
    """A row as the table's texts."""
    ratio, met = row.ratio, row.met
    return (
        row.question,
        amount(row.ours, row.unit),
        "-" if row.theirs is None else amount(row.theirs, row.unit),
        "-" if ratio is None else f"{ratio:.4f}" if ratio < 0.1 else f"{ratio:.2f}",
        "-" if row.target is None else f"{row.target:.4g}",
        "-" if met is None else "yes" if met else "NO",
    )


def amount(value: float, unit: str) -> str:
    """A measured number with its unit; seconds below a tenth as milliseconds."""
    if unit == "s" and abs(value) < 0.1:
        return f"{value * 1000:.2f} ms"
    return f"{value:.2f} {unit}"


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "dagster": installed("dagster") or "-",
        "ray": installed("ray") or "-",
        "date": time.strftime("%Y-%m-%d"),
    }


def installed(package: str) -> str | None:
    """A package's version; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextlib.contextmanager
def embedded_ray(num_cpus: int | None = None) -> Iterator[None]:
    """This process is connected to an embedded Ray of its own, as the product starts it.

    Within another, it is that one.

    Args:
        num_cpus: its worker slots; None for the machine's cores.
    """
    import ray

    from rayflow_dagster.cluster import connection

    if ray.is_initialized():
        yield
        return
    folder = tempfile.mkdtemp(prefix="rfb-", dir="/tmp")  # short, for Ray's sockets
    before = os.environ.get("RAYFLOW_RAY_DIR")
    os.environ["RAYFLOW_RAY_DIR"] = folder
    try:
        connection.connect(connection.RaySettings(num_cpus=num_cpus))
        try:
            yield
        finally:
            connection.disconnect()
            connection.stop()
    finally:
        if before is None:
            del os.environ["RAYFLOW_RAY_DIR"]
        else:
            os.environ["RAYFLOW_RAY_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def rest(slots: int) -> None:
    """Let go of the embedded Ray until its idle processes are back, as between two users' runs.

    In the product every run has a process of its own, and Ray's keeper starts new idle processes
    when no run needs the cores. A benchmark that stayed connected would never find them.
    """
    from rayflow_dagster.cluster import connection, spares

    connection.disconnect()
    deadline = time.monotonic() + REST_SECONDS
    while idle_processes() < min(slots, spares.MOST) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)


def idle_processes() -> int:
    """How many of Ray's processes wait for an actor, where the system can tell; else 0."""
    found = 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += file.read_bytes().startswith(b"ray::IDLE")
    return found


def make_home(folder: Path, settings: str) -> Path:
    """A ``DAGSTER_HOME`` at ``folder`` with these settings."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(settings, encoding="utf-8")
    return folder


def our_settings() -> str:
    """What a user of this package has: the repository's own ``dagster.yaml``."""
    return (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")


@contextlib.contextmanager
def dagster_instance(settings: str) -> Iterator[DagsterInstance]:
    """A real instance on disk, with these settings, in a folder that goes away after."""
    folder = Path(tempfile.mkdtemp(prefix="rfb-home-"))
    try:
        home = make_home(folder / "home", settings)
        with DagsterInstance.from_config(str(home)) as instance:
            yield instance
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def our_instance() -> Iterator[DagsterInstance]:
    """The instance that ours are recorded in: the repository's ``dagster.yaml``."""
    with dagster_instance(our_settings()) as instance:
        yield instance


@contextlib.contextmanager
def default_instance() -> Iterator[DagsterInstance]:
    """The instance that theirs are recorded in: Dagster's defaults, without its telemetry."""
    with dagster_instance(QUIET) as instance:
        yield instance


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """What goes to standard error, of this process and its children, goes to /dev/null.

    Dagster's console handler keeps formatting and writing, as it would into a log file.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
