"""``rayflow-dagster validate``: every finding of every flow file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.flow import read_flow
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.errors import FlowFormatError
from rayflow_dagster.project import Project
from rayflow_dagster.types import FlowData

from .flows import find_flows, shown
from .terminal import indented, open_console, print_document, styled

STYLES = {"error": "bold red", "warning": "yellow"}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A flow file and its findings. ``raw`` is None when it is not readable as a flow."""

    path: Path
    findings: list[Finding]
    raw: dict[str, Any] | None = None

    @property
    def is_valid(self) -> bool:
        return all(finding.severity != "error" for finding in self.findings)

    def passes(self, *, strict: bool) -> bool:
        """Whether it is valid; ``strict``: and has no warning either."""
        return not self.findings if strict else self.is_valid

    def as_dict(self, *, strict: bool) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "file": shown(self.path),
            "valid": self.passes(strict=strict),
            "findings": [finding.as_dict() for finding in self.findings],
        }


def validate_flows(named: Iterable[str], *, as_json: bool, strict: bool = False) -> bool:
    """Print the findings of every named flow; True when none of them is an error, or with
    ``strict`` when there is none.
    """
    checked = check_files(find_flows(named))
    bad = sum(not file.passes(strict=strict) for file in checked)
    if as_json:
        document = {"valid": not bad, "files": [file.as_dict(strict=strict) for file in checked]}
        print_document(document)
    else:
        _print(checked, f"{bad} with {'findings' if strict else 'errors'}" if bad else "")
    return not bad


def check_files(paths: list[Path]) -> list[CheckedFile]:
    """The findings of every file, and of all of them together."""
    validators: dict[Path, FlowValidator] = {}
    checked = [_check(path, validators) for path in paths]
    for folder in {path.resolve().parent for path in paths}:
        beside = [file for file in checked if file.path.resolve().parent == folder]
        if len(beside) > 1:
            _check_side_by_side(beside)
    return checked


def _check_side_by_side(files: list[CheckedFile]) -> None:
    """Add what is wrong with flows of one folder beside each other, as for a code location."""
    # Local: it takes dagster to tell.
    from rayflow_dagster.defs.jobs import compile_flow, job_name
    from rayflow_dagster.defs.side_by_side import refused_side_by_side, warnings_side_by_side

    clashes = _name_clashes(files)
    for file in files:
        file.findings.extend(clashes.get(file.path, ()))
    flows = {
        job_name(file.raw, file.path): file
        for file in files
        if file.is_valid and file.raw is not None
    }
    project = Project.around(files[0].path)
    compiled = [
        compile_flow(file.raw, name, project, file=file.path) for name, file in flows.items()
    ]
    for name, texts in refused_side_by_side(compiled).items():
        flows[name].findings.extend(Finding("together", text) for text in texts)
    for name, texts in warnings_side_by_side(compiled).items():
        found = (Finding("together", text, severity="warning") for text in texts)
        flows[name].findings.extend(found)


def _check(path: Path, validators: dict[Path, FlowValidator]) -> CheckedFile:
    """Check one file; ``validators`` keeps one validator per folder."""
    try:
        raw = read_flow(path)
    except FlowFormatError as error:
        return CheckedFile(path, [Finding("outline", text) for text in error.findings])
    project = Project.around(path)
    validator = validators.setdefault(path.resolve().parent, project.validator())
    validator.validate(cast(FlowData, raw))
    return CheckedFile(path, list(validator.findings), raw)


def _name_clashes(checked: Iterable[CheckedFile]) -> Mapping[Path, list[Finding]]:
    """Files in one folder that would become jobs of one name, each told of the others."""
    from rayflow_dagster.defs.jobs import job_name  # local: it takes dagster to tell

    by_name: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for file in checked:
        name = job_name(file.raw or {}, file.path)
        key = (file.path.resolve().parent, name.casefold())
        by_name.setdefault(key, []).append((file.path, name))
    return {
        path: [_clash(name, [shown(other) for other, _ in files if other != path])]
        for files in by_name.values()
        if len(files) > 1
        for path, name in files
    }


def _clash(name: str, others: list[str]) -> Finding:
    listed = ", ".join(f"'{other}'" for other in others)
    text = f"the name '{name}' is also claimed by {listed}; give each flow a name of its own"
    return Finding("flow_name", text)


def _print(checked: list[CheckedFile], bad: str) -> None:
    console = open_console()
    for file in checked:
        print_file(console, file)
    if len(checked) > 1:
        console.print(f"{len(checked)} flows" + (f", {bad}" if bad else ""))


def print_file(console: Console, file: CheckedFile) -> None:
    """Print the findings of a file."""
    counts = {severity: _count(file, severity) for severity in STYLES}
    said = ", ".join(
        f"{count} {severity}{'s' if count > 1 else ''}"
        for severity, count in counts.items()
        if count
    )
    worst = "bold red" if counts["error"] else "yellow" if counts["warning"] else "green"
    console.print(f"{shown(file.path)}: ", end="")
    console.print(styled(said or "ok", worst))
    for finding in file.findings:
        console.print(styled(f"  {finding.severity}", STYLES[finding.severity]), end=" ")
        console.print(indented(finding.message, "    ").strip(), styled(f"[{finding.rule}]", "dim"))


def _count(file: CheckedFile, severity: str) -> int:
    return sum(finding.severity == severity for finding in file.findings)
