"""What ``rayflow-dagster dev`` watches, when it has it reloaded, and what it tells."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from forked_pythons import ForkedPythons

from rayflow_dagster.cli.addresses import is_free, url_of, warn_if_open
from rayflow_dagster.cli.dev_watcher import Watcher
from rayflow_dagster.cli.orphans import Children
from rayflow_dagster.cli.space import MUCH
from rayflow_dagster.cli.watched import Changes, ProjectFiles, told
from rayflow_dagster.cli.workspace import UnreachableError, Workspace

LOCATION = "definitions.py"


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def names(files: ProjectFiles) -> set[str]:
    return {files.name_of(file) for file in files.snapshot()}


def test_flows_nodes_python_files_and_settings_are_watched(tmp_path: Path) -> None:
    watched = {
        "definitions.py", "helpers.py", "pyproject.toml", "flows/a.json", "nodes/__init__.py",
        "nodes/text/shout.py", "shared/nodes/one.py",
    }  # fmt: skip
    write(tmp_path, *watched)
    write(
        tmp_path, "out/result.json", "data/rows.csv", ".dagster/storage/x.py", "flows/old/b.json",
        "nodes/__pycache__/a.py", "nodes/.cache/a.py", "flows/.a.json.swp", "flows/.a.json",
        "README.md", "venv/lib/a.py",
    )  # fmt: skip
    (tmp_path / "pyproject.toml").write_text('[tool.rayflow_dagster]\nnodes = ["shared.nodes"]\n')

    assert names(ProjectFiles(tmp_path)) == watched


def test_more_files_and_folders_can_be_watched(tmp_path: Path) -> None:
    root, other = tmp_path / "project", tmp_path / "other"
    write(root, "definitions.py")
    write(other, "drawn/a.json", "drawn/note.txt", "queries.sql")

    files = ProjectFiles(root, [other / "drawn", other / "queries.sql"])

    wanted = {"definitions.py", f"{other}/drawn/a.json", f"{other}/queries.sql"}
    assert names(files) == wanted


def test_node_packages_named_while_watching_are_watched_and_a_broken_settings_file_changes_none(
    tmp_path: Path,
) -> None:
    write(tmp_path, "more/a.py")
    files = ProjectFiles(tmp_path)
    assert names(files) == set()

    settings = tmp_path / "pyproject.toml"
    settings.write_text('[tool.rayflow_dagster]\nnodes = ["more"]\n')
    assert names(files) == {"pyproject.toml", "more/a.py"}

    settings.write_text('[tool.rayflow_dagster]\nnodes = ["mo')
    assert names(files) == {"pyproject.toml", "more/a.py"}


def test_a_change_is_told_once_nothing_is_written_any_more(tmp_path: Path) -> None:
    write(tmp_path, "flows/a.json", "flows/b.json", "flows/c.json")
    files = ProjectFiles(tmp_path)
    changes = Changes(files.snapshot())
    a, b, c = (tmp_path / f"flows/{name}.json" for name in "abc")

    a.write_text("half of")
    assert changes.look(files.snapshot()) == []
    a.write_text("half of it")
    b.unlink()
    c.write_text("more")
    assert changes.look(files.snapshot()) == []
    seen = files.snapshot()
    assert changes.look(seen) == [a, b, c]
    assert changes.look(files.snapshot()) == [a, b, c]  # not loaded yet

    changes.loaded(seen)
    assert changes.look(files.snapshot()) == []


def test_a_file_replaced_by_another_of_its_size_and_time_has_changed(tmp_path: Path) -> None:
    write(tmp_path, "flows/a.json", "flows/new")
    flow, new = tmp_path / "flows/a.json", tmp_path / "flows/new"
    files = ProjectFiles(tmp_path)
    changes = Changes(files.snapshot())

    os.utime(new, ns=(flow.stat().st_atime_ns, flow.stat().st_mtime_ns))
    new.rename(flow)

    changes.look(files.snapshot())
    assert changes.look(files.snapshot()) == [flow]


def test_what_is_put_back_before_it_was_loaded_is_no_change(tmp_path: Path) -> None:
    write(tmp_path, "flows/a.json")
    files = ProjectFiles(tmp_path)
    changes = Changes(files.snapshot())

    write(tmp_path, "flows/b.json")
    assert changes.look(files.snapshot()) == []
    (tmp_path / "flows/b.json").unlink()
    assert changes.look(files.snapshot()) == []
    assert changes.look(files.snapshot()) == []


def test_the_first_of_many_changed_files_are_named() -> None:
    assert told(["a", "b", "c"]) == "a, b, c"
    assert told(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


class Answers(BaseHTTPRequestHandler):
    """A webserver that has loaded what its test says, in place of Dagster's: slow answers, errors
    and restarts cannot be had of that at will."""

    loaded: dict[str, Any]
    reload: dict[str, Any]
    status: int

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.reload if "mutation" in asked["query"] else self.loaded
        body = json.dumps({"data": {"only": answer}}).encode()
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    handler = type("Handler", (Answers,), {"status": 200, "loaded": workspace({}), "reload": {}})
    found = HTTPServer(("127.0.0.1", 0), handler)
    handler.reload = {"__typename": "WorkspaceLocationEntry"}
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def answers(server: HTTPServer) -> type[Answers]:
    handler = server.RequestHandlerClass
    assert isinstance(handler, type)
    assert issubclass(handler, Answers)
    return handler


def workspace(broken: dict[Path, list[str]], status: str = "LOADED") -> dict[str, Any]:
    jobs = [
        {
            "tags": [{"key": "rayflow/broken"}],
            "metadataEntries": [
                {"label": "flow file", "path": str(file)},
                {"label": "findings", "jsonString": json.dumps(findings)},
            ],
        }
        for file, findings in broken.items()
    ]
    jobs.append({"tags": [], "metadataEntries": []})
    location = {"repositories": [{"pipelines": jobs}]}
    entry = {"name": LOCATION, "loadStatus": status, "locationOrLoadError": location}
    return {"__typename": "Workspace", "locationEntries": [entry]}


@pytest.fixture
def watcher(tmp_path: Path, server: HTTPServer) -> Watcher:
    """Looks at a project with one flow, which the server has loaded."""
    write(tmp_path, "flows/a.json")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    watcher = Watcher(ProjectFiles(tmp_path), Workspace(url))
    (line,) = watcher.look()
    assert line == f"flows, nodes and *.py in {tmp_path} are loaded again whenever one is saved"
    return watcher


def change(tmp_path: Path, watcher: Watcher) -> list[str]:
    """What is told of the next save."""
    file = tmp_path / "flows/a.json"
    file.write_text(file.read_text() + "x")
    assert watcher.look() == []
    return watcher.look()


def test_a_broken_flow_is_told_with_its_first_finding_and_when_it_can_run_again(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    flow = tmp_path / "flows/a.json"
    answers(server).loaded = workspace({flow: ["it is\nnot JSON", "nor is it a flow"]})
    broke = change(tmp_path, watcher)
    answers(server).loaded = workspace({})
    mended = change(tmp_path, watcher)

    reloaded = "reloaded definitions.py after a change of flows/a.json"
    assert broke == [reloaded, "flows/a.json cannot run: it is not JSON (and 1 more)"]
    assert mended == [reloaded, "flows/a.json can run again"]
    assert watcher.look() == []


def test_a_flow_that_was_mended_while_the_location_could_not_be_loaded_is_told(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    flow = tmp_path / "flows/a.json"
    answers(server).loaded = workspace({flow: ["wrong"]})
    change(tmp_path, watcher)
    failed = workspace({})
    failed["locationEntries"][0]["locationOrLoadError"] = {"message": "no"}
    answers(server).loaded = failed
    change(tmp_path, watcher)
    answers(server).loaded = workspace({})

    assert change(tmp_path, watcher)[1:] == ["flows/a.json can run again"]


def test_few_of_many_broken_flows_are_told(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    broken = {tmp_path / f"flows/{number}.json": ["wrong"] for number in range(8)}
    answers(server).loaded = workspace(broken)
    lines = change(tmp_path, watcher)

    assert len(lines) == 7
    assert lines[-1] == "3 more flows cannot run; see: rayflow-dagster validate flows"


def test_a_location_that_cannot_be_loaded_is_told(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    failed = workspace({})
    failed["locationEntries"][0]["locationOrLoadError"] = {
        "message": "DagsterUserCodeLoadError: around",
        "errorChain": [{"error": {"message": "SyntaxError: no\n  line 3"}}],
    }
    answers(server).loaded = failed
    (line,) = change(tmp_path, watcher)

    what = "after a change of flows/a.json"
    assert line == f"definitions.py cannot be loaded {what}: SyntaxError: no"


def test_a_refused_reload_is_told(tmp_path: Path, server: HTTPServer, watcher: Watcher) -> None:
    answers(server).reload = {"__typename": "UnauthorizedError", "message": "you may not"}
    (line,) = change(tmp_path, watcher)

    assert line.endswith(": you may not")


def test_an_error_of_the_webserver_is_told(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    answers(server).status = 500
    lines = change(tmp_path, watcher)
    answers(server).status = 200

    assert any("the webserver answers 500" in line for line in lines)
    assert change(tmp_path, watcher) == ["reloaded definitions.py after a change of flows/a.json"]


def test_what_is_being_loaded_by_someone_else_is_told_when_it_is_done(
    tmp_path: Path, server: HTTPServer, watcher: Watcher
) -> None:
    answers(server).loaded = workspace({}, status="LOADING")
    assert change(tmp_path, watcher) == []

    answers(server).loaded = workspace({})
    assert watcher.look() == ["reloaded definitions.py after a change of flows/a.json"]


def test_a_webserver_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = url_of(*probe.getsockname())
    asked = Workspace(url)
    with pytest.raises(UnreachableError):
        asked.loaded()

    assert Watcher(ProjectFiles(tmp_path), asked).look() == []


def test_a_server_on_every_address_is_asked_on_the_loopback() -> None:
    assert url_of("0.0.0.0", 3000) == "http://127.0.0.1:3000"
    assert url_of("::", 3000) == "http://[::1]:3000"
    assert url_of("example", 3001) == "http://example:3001"


def test_a_port_that_is_listened_at_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_what_is_to_be_watched_must_be_there(typed, project: Path) -> None:
    result = typed("dev", "--watch", "nowhere")

    assert result.exit_code == 1
    assert "there is no nowhere; --watch takes" in result.output


def test_it_is_dagster_dev_with_its_options_and_its_exit_code(
    project: Path, pythons: ForkedPythons
) -> None:
    done = pythons.run(["-m", "rayflow_dagster", "dev", "--log-format", "klingon"])

    assert done.returncode == 2
    assert "'klingon' is not one of 'colored', 'json', 'rich'" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "::ffff:192.0.2.7"])
def test_a_host_that_others_reach_is_warned_of(host, capsys: pytest.CaptureFixture[str]) -> None:
    warn_if_open(host, "take care")

    warning = f"Warning: {host} can be reached from other machines, take care\n"
    assert capsys.readouterr().err == warning


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1", "no such host"])
def test_a_host_that_nobody_else_reaches_is_not(host, capsys: pytest.CaptureFixture[str]) -> None:
    warn_if_open(host, "take care")

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["-h", "--host", "--dagit-host"])
def test_dev_warns_of_whom_dagster_lets_in(
    project: Path, pythons: ForkedPythons, option: str
) -> None:
    command = ["-m", "rayflow_dagster", "dev", option]
    ends = ["--log-format", "klingon"]
    done = [pythons.run([*command, host, *ends]) for host in ("0.0.0.0", "127.0.0.1")]

    assert done[0].stderr.startswith("Warning: 0.0.0.0 can be reached from other machines")
    assert "asks nobody who they are" in done[0].stderr
    assert "Warning" not in done[1].stderr
    assert [each.returncode for each in done] == [2, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_it_can_be_ended_when_a_script_has_started_it_in_the_background(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    dev = f"{sys.executable} -m rayflow_dagster dev -f definitions.py -p {port}"
    (project / "definitions.py").write_text("from dagster import Definitions\ndefs = Definitions()")
    script = ["bash", "-c", f"{dev} >&2 & echo $!; wait $!"]
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        process = os.pidfd_open(pid)
        try:
            while b"-m\0dagster\0" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                time.sleep(0.01)
            ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
            assert ignored is not None
            signal.pidfd_send_signal(process, signal.SIGTERM)
            ended = bool(select.select([process], [], [], 60.0)[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)
    assert not int(ignored[1], 16) & 1 << signal.SIGINT - 1
    assert ended


def test_stored_values_that_take_much_space_are_told_of(tmp_path: Path) -> None:
    file = tmp_path / "stored" / str(uuid.uuid4()) / "parts" / "digest"
    file.parent.mkdir(parents=True)
    with file.open("wb") as made:
        made.truncate(MUCH)  # a file with nothing in it
    nobody = "http://127.0.0.1:1"
    told = [str(os.getpid()), nobody, str(tmp_path), str(tmp_path / "stored")]
    command = [sys.executable, "-m", "rayflow_dagster.cli.dev_watcher", *told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        told = watching.stdout.readline()
        watching.kill()
    assert told.startswith("rayflow-dagster: stored values of 1 run take 5.0 GB in ")
    assert "rayflow-dagster prune" in told


def test_the_process_beside_dagster_dev_imports_neither_ray_nor_dagster() -> None:
    code = (
        "import sys, rayflow_dagster.cli.dev_watcher\nprint(*{'ray', 'dagster'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_children_of_a_killed_process_are_ended() -> None:
    script = "import subprocess, time; subprocess.Popen(['sleep', '600']); print(flush=True)"
    command = [sys.executable, "-c", f"{script}; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = Children(parent.pid)
        children.remember()
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
        (child,) = map(int, listed.split())
        watched = os.pidfd_open(child)
        try:
            parent.kill()
            parent.wait()
            children.remember()
            children.end()
        finally:
            ended = _ended(watched)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(watched, signal.SIGKILL)
            os.close(watched)
    assert ended


def _ended(pidfd: int) -> bool:
    """Whether a process ends within ten seconds."""
    return bool(select.select([pidfd], [], [], 10.0)[0])
