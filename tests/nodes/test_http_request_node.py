import gzip
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rayflow_dagster.nodes.io.http_request import HttpRequestNode
from rayflow_dagster.testing import run_node_locally

PACKED = 1_000_000
LONGER = {"short": 1, "drip": 1_000_000}
"""How much longer an answer says that it is than it turns out."""


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; the path says how."""

    def answer(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = {"method": self.command, "headers": dict(self.headers), "body": body.decode()}
        self.send_response(int(kind) if kind.isdecimal() else 200)
        if rest:
            self.send_header("Location", rest)
        self.send_header("X-Twice", "one")
        self.send_header("X-Twice", "two")
        content = "Zoë".encode("latin-1") if kind == "latin" else json.dumps(sent).encode()
        if kind == "gzip":
            content = gzip.compress(b"a" * PACKED)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", "text/plain; charset=latin-1")
        self.send_header("Content-Length", str(len(content) + LONGER.get(kind, 0)))
        self.end_headers()
        while kind == "drip":
            time.sleep(0.05)
            self.wfile.write(b" ")
        self.wfile.write(b"" if kind == "304" else content)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture(scope="module")
def url():
    server = serve()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def other_url():
    server = serve()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _project(monkeypatch, tmp_path):
    """The working folder is a project that may send requests to this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.rayflow_dagster]\nlocal_requests = true\n")


def send(url, **inputs):
    outputs = run_node_locally(HttpRequestNode, url=url, **inputs)
    return outputs["status"], json.loads(outputs["body"])


def test_a_request_is_a_get_without_body(url):
    status, sent = send(url)
    assert (status, sent["method"], sent["body"]) == (200, "GET", "")


def test_a_dict_is_sent_as_json(url):
    _, sent = send(url, method="post", body={"a": [1]})
    assert (sent["method"], sent["body"]) == ("POST", '{"a": [1]}')
    assert sent["headers"]["Content-Type"] == "application/json"


def test_text_is_sent_as_it_is(url):
    _, sent = send(url, method="POST", body="Zoë")
    assert sent["body"] == "Zoë"
    assert sent["headers"]["Content-Type"] == "text/plain; charset=utf-8"


def test_headers_are_sent_and_may_replace_the_content_type(url):
    headers = {"content-type": "text/csv", "X-Number": 5}
    _, sent = send(url, method="POST", body="a,b", headers=headers)
    assert sent["headers"]["content-type"] == "text/csv"
    assert "Content-Type" not in sent["headers"]
    assert sent["headers"]["X-Number"] == "5"


@pytest.mark.parametrize("status", [201, 304, 404, 500])
def test_every_status_is_an_answer(url, status):
    assert run_node_locally(HttpRequestNode, url=f"{url}/{status}")["status"] == status


def test_headers_of_the_answer_are_lower_case_and_repeated_ones_joined(url):
    assert run_node_locally(HttpRequestNode, url=url)["headers"]["x-twice"] == "one, two"


def test_the_body_is_read_in_the_encoding_that_the_server_names(url):
    assert run_node_locally(HttpRequestNode, url=f"{url}/latin")["body"] == "Zoë"


def test_a_redirect_is_followed(url):
    status, _ = send(f"{url}/302//end")
    assert status == 200


def test_a_redirect_to_another_server_carries_nothing_along_that_may_be_a_secret(url, other_url):
    secrets = {"Authorization": "Bearer secret", "X-Key": "secret", "Cookie": "a=b"}
    headers = {**secrets, "Accept-Language": "nl"}
    _, here = send(f"{url}/302/{url}/", headers=headers)
    _, there = send(f"{url}/302/{other_url}/", headers=headers)
    assert headers.items() <= here["headers"].items()
    assert not secrets.keys() & there["headers"].keys()
    assert there["headers"]["Accept-Language"] == "nl"


def test_a_redirect_is_an_answer_where_none_is_followed(url):
    outputs = run_node_locally(
        HttpRequestNode, url=f"{url}/302//end", constants={"FOLLOW_REDIRECTS": False}
    )
    assert (outputs["status"], outputs["headers"]["location"]) == (302, "/end")


def test_a_redirect_out_of_http_is_not_followed(url):
    with pytest.raises(ConnectionError, match=r"failed: ftp://127\.0\.0\.1/x"):
        run_node_locally(HttpRequestNode, url=f"{url}/302/ftp://127.0.0.1/x")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "www.example.org", "http://"])
def test_only_http_addresses_are_taken(url):
    with pytest.raises(ValueError, match="is not an address: write http"):
        run_node_locally(HttpRequestNode, url=url)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(ValueError, match="use an Authorization header") as refused:
        run_node_locally(HttpRequestNode, url="http://ada:secret@127.0.0.1/")
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_fails_with_the_address_but_not_the_query():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=rf"GET http://127.0.0.1:{port}/x failed: .*refused"):
        run_node_locally(HttpRequestNode, url=f"http://127.0.0.1:{port}/x?token=1")


def test_a_server_that_does_not_answer_fails_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(ConnectionError, match=r"failed: not done after 0\.1 seconds"):
            run_node_locally(HttpRequestNode, url=url, constants={"TIMEOUT": 0.1})


def test_a_server_that_never_ends_its_answer_fails_after_the_timeout(url):
    with pytest.raises(ConnectionError, match="failed: not done after 1 seconds"):
        run_node_locally(HttpRequestNode, url=f"{url}/drip", constants={"TIMEOUT": 1.0})


def test_a_packed_answer_is_unpacked_and_one_that_is_too_long_then_is_refused(url):
    assert run_node_locally(HttpRequestNode, url=f"{url}/gzip")["body"] == "a" * PACKED
    with pytest.raises(ConnectionError, match=r"longer than 1,000 bytes \(MAX_BYTES\)"):
        run_node_locally(HttpRequestNode, url=f"{url}/gzip", constants={"MAX_BYTES": 1000})


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_this_machine_is_not_asked_unless_the_project_allows_it(url, tmp_path, name, monkeypatch):
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ConnectionError, match=r"of the machine itself .* local_requests"):
        run_node_locally(HttpRequestNode, url=url.replace("127.0.0.1", name))


def test_a_proxy_may_be_of_this_machine_and_is_not_asked_for_it(url, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", url)
    assert send("http://nowhere.example/")[1]["method"] == "GET"
    with pytest.raises(ConnectionError, match="localhost is an address of the machine itself"):
        send("http://localhost/")


def test_an_answer_that_breaks_off_fails(url):
    with pytest.raises(ConnectionError, match="failed: "):
        run_node_locally(HttpRequestNode, url=f"{url}/short", headers={"Connection": "close"})
