import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rayflow_dagster.nodes.io.http_request import HttpRequestNode
from rayflow_dagster.testing import run_node_locally


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
        self.send_header("Content-Type", "text/plain; charset=latin-1")
        self.send_header("Content-Length", str(len(content) + (kind == "short")))
        self.end_headers()
        self.wfile.write(content)

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
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


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
    assert sent["headers"]["Content-Type"] == "text/csv"
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


def test_a_redirect_to_another_server_does_not_carry_the_password_along(url, other_url):
    headers = {"authorization": "Bearer secret", "X-Kept": "yes"}
    _, here = send(f"{url}/302/{url}/", headers=headers)
    _, there = send(f"{url}/302/{other_url}/", headers=headers)
    assert here["headers"]["Authorization"] == "Bearer secret"
    assert "Authorization" not in there["headers"]
    assert there["headers"]["X-Kept"] == "yes"


def test_a_redirect_out_of_http_is_not_followed(url):
    with pytest.raises(ConnectionError, match="unknown url type: ftp"):
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
        with pytest.raises(ConnectionError, match="failed: timed out"):
            run_node_locally(HttpRequestNode, url=url, constants={"TIMEOUT": 0.1})


def test_an_answer_that_breaks_off_fails(url):
    with pytest.raises(ConnectionError, match="failed: "):
        run_node_locally(HttpRequestNode, url=f"{url}/short", headers={"Connection": "close"})
