"""What do the file sensors of 200 flows on one folder cost, next to one?

A tick of all: each takes the shared listing, matches its own pattern and looks for new files with
its cursor. Ours: 200 sensors. Theirs: one sensor alone. The folder has 10,000 files. One table
line has patterns that share no files, the other 200 different patterns that all match all files.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _bench import Row, alternate, is_quick, medians, report

from rayflow_dagster.arriving_files import Listings, Pattern, new_files


def main() -> None:
    quick = is_quick(__doc__)
    count, sensors = (200, 20) if quick else (10_000, 200)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            (folder / f"f{number % sensors}_{number}.csv").write_text("1")
        apart = [Pattern.of(f"f{n}_*.csv", folder) for n in range(sensors)]
        alike = [Pattern.of("*" * (n + 1) + ".csv", folder) for n in range(sensors)]
        cases: dict[str, Callable[[], float]] = {}
        for case, patterns in {"apart": apart, "alike": alike}.items():
            cases[f"all {case}"] = ticker(patterns)
            cases[f"one {case}"] = ticker(patterns[:1])
        found = alternate(cases, 1 if quick else 5)
    middle = medians(found)
    rows = [
        Row(f"{sensors} sensors / one, {what}", middle[f"all {case}"], middle[f"one {case}"])
        for case, what in {"apart": "each its own files", "alike": "each all files"}.items()
    ]
    report("file_sensors", rows, quick=quick, measured=found)


def ticker(patterns: Sequence[Pattern]) -> Callable[[], float]:
    """Times the second tick of these sensors: all files are known already."""
    cursors: dict[Pattern, str] = {}
    tick(patterns, cursors)
    return lambda: tick(patterns, cursors)


def tick(patterns: Sequence[Pattern], cursors: dict[Pattern, str]) -> float:
    listings = Listings()
    started = time.perf_counter()
    for pattern in patterns:
        files, began = listings.files(pattern, 1e6)
        cursors[pattern] = new_files(files, cursors.get(pattern), settle=0, now=began)[1]
    seconds = time.perf_counter() - started
    if listings.passes != 1:
        raise RuntimeError(f"{listings.passes} passes over one folder")
    return seconds


if __name__ == "__main__":
    main()
