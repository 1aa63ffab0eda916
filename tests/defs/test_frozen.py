"""Flows travel with the runs that are made of them."""

from pathlib import Path

import pytest
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.repository_definition import RepositoryLoadData

from rayflow_dagster.defs import frozen
from rayflow_dagster.defs.frozen import FrozenFlow, freeze_flows, frozen_flows
from rayflow_dagster.errors import ProjectError

HERE, THERE = Path("/here/project/flows"), Path("/there/app/project/flows")


def flow_in(folder: Path, content: bytes = b"{}", findings: list[str] | None = None) -> FrozenFlow:
    return FrozenFlow("job", folder / "flow.json", content, findings)


def after(flows: dict[Path, FrozenFlow]) -> DefinitionsLoadContext:
    """The context of a run's process, when its code location has loaded these."""
    loading = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    with DefinitionsLoadContext.scoped(loading):
        for folder, flow in flows.items():
            freeze_flows(folder, [flow])
    kept = RepositoryLoadData(reconstruction_metadata=loading.get_pending_reconstruction_metadata())
    return DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, kept)


@pytest.mark.parametrize("content", [b'{"name": "\xc3\xa9"}', b"\xff\xfe half", b""])
@pytest.mark.parametrize("findings", [None, [], ["it is not JSON"]])
def test_every_file_comes_as_it_was_to_the_folder_where_it_runs(content, findings):
    with DefinitionsLoadContext.scoped(after({HERE: flow_in(HERE, content, findings)})):
        assert frozen_flows(THERE) == [flow_in(THERE, content, findings)]


def test_of_two_folders_each_finds_its_own():
    others = {folder: folder.parent.parent / "other" / "flows" for folder in (HERE, THERE)}
    flows = {HERE: flow_in(HERE, b"1"), others[HERE]: flow_in(others[HERE], b"2")}
    with DefinitionsLoadContext.scoped(after(flows)):
        for folder, content in ((THERE, b"1"), (others[THERE], b"2"), (HERE, b"1")):
            assert frozen_flows(folder) == [flow_in(folder, content)]


def test_a_folder_that_was_not_loaded_has_no_frozen_flows():
    with DefinitionsLoadContext.scoped(after({HERE: flow_in(HERE)})):
        assert frozen_flows(Path("/here/project/graphs")) is None
    assert frozen_flows(HERE) is None


def test_flows_that_are_too_large_to_travel_are_refused(monkeypatch):
    monkeypatch.setattr(frozen, "MAX_BYTES", 100)
    large = flow_in(HERE, bytes(range(32, 127)) * 10)
    with pytest.raises(ProjectError, match=r"1 flows in .* take \d+ bytes.* at most 100 travel"):
        freeze_flows(HERE, [large])
