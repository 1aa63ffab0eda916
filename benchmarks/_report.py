"""``python benchmarks/_report.py``: what the last ``make bench`` found, as a Markdown table.

``--write`` puts it into docs/benchmarks.md, between its two marks.
"""

import json
import sys
from typing import Any

from _bench import REPOSITORY, RESULTS, Row, cells

PAGE = REPOSITORY / "docs" / "benchmarks.md"
FROM, TO = "<!-- figures -->", "<!-- end of figures -->"
ORDER = (
    "chain", "parallel", "sharing", "marginal", "direct", "for_each", "first_node", "arrays",
    "task_graphs", "compile", "code_location", "launch", "file_sensors",
)  # fmt: skip


def main() -> None:
    """Print the table, or write it into the page."""
    table = markdown(documents())
    if sys.argv[1:] != ["--write"]:
        print(table)
        return
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(FROM)
    _, mark, tail = rest.partition(TO)
    if not mark:
        raise SystemExit(f"{PAGE} has no {FROM} ... {TO}")
    PAGE.write_text(f"{head}{FROM}\n\n{table}\n\n{TO}{tail}", encoding="utf-8")


def documents() -> list[dict[str, Any]]:
    """What the benchmarks wrote, without quick ones, in the order of the page."""
    found = {file.stem: file for file in RESULTS.glob("*.json")}
    names = [name for name in ORDER if name in found]
    names += sorted(name for name in found if name not in ORDER and not name.startswith("quick-"))
    return [json.loads(found[name].read_text(encoding="utf-8")) for name in names]


def markdown(found: list[dict[str, Any]]) -> str:
    """One table of all rows, and what it was taken on."""
    if not found:
        return "No figures yet: run `make bench`."
    lines = [
        "| benchmark | question | ours | compared with | ratio | target | met |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    notes = []
    for document in found:
        notes += [f"{document['name']}: {note}" for note in document["notes"]]
        for row in document["rows"]:
            told = {key: row[key] for key in ("question", "ours", "theirs", "target", "unit")}
            texts = [text.replace("|", "\\|") for text in cells(Row(**told))]
            lines.append(f"| {document['name']} | {' | '.join(texts)} |")
    about = sorted({machine(document["machine"]) for document in found})
    return "\n".join([*lines, "", *(f"Taken on {text}." for text in about), *notes])


def machine(facts: dict[str, Any]) -> str:
    """The machine in a line."""
    return (
        f"{facts['date']}: {facts['cores']} cores, {facts['system']}, Python {facts['python']}, "
        f"Dagster {facts['dagster']}, Ray {facts['ray']}"
    )


if __name__ == "__main__":
    main()
