"""Alerts reach the log, a file and a real web server; what fails is told, names no secret, and stops nothing."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from fraudfl.errors import ConfigError, RuntimeFailure, TrustError
from fraudfl.monitoring.rules import Alert
from fraudfl.monitoring.settings import AlertsConfig, WebhookConfig
from fraudfl.monitoring.sinks import FileSink, LogSink, WebhookSink, deliver, sinks_of

ALERT = Alert("drift", "2025-05", "2025-04", "critical", "retrain", "psi_max in 2025-05 is 0.3 in amount")
SECRET = "/hooks/T0-s3cret-token"


class Operator(ThreadingHTTPServer):
    """An operator's server: gives the answers it was told to, in turn and the last one from then on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answers: list[int] = [204]
        self.delay = 0.0
        self.bodies: list[dict[str, str]] = []
        self.paths: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    server: Operator

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.bodies.append(json.loads(body))
        time.sleep(self.server.delay)
        answers = self.server.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        if answers == [302]:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.paths.append(f"GET {self.path}")
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def operator() -> Iterator[Operator]:
    with Operator() as server:
        yield server
        server.shutdown()


def hook(url: str, **settings: object) -> WebhookSink:
    return WebhookSink(WebhookConfig.model_validate({"url": url, "pause_seconds": 0.01, **settings}))


def test_an_alert_is_posted_as_json_to_the_operators_address(operator):
    hook(operator.url).send(ALERT)
    assert operator.paths == [SECRET]
    body = operator.bodies[0]
    assert body.pop("at").endswith("+00:00")
    assert body == ALERT.to_dict()


@pytest.mark.parametrize("passing", [500, 503, 429])
def test_a_fault_that_passes_is_tried_again(operator, passing):
    operator.answers = [passing, passing, 200]
    hook(operator.url).send(ALERT)
    assert len(operator.bodies) == 3


def test_attempts_are_bounded(operator):
    operator.answers = [500]
    with pytest.raises(RuntimeFailure, match="answer 500 after 2 of 2 attempts"):
        hook(operator.url, attempts=2).send(ALERT)
    assert len(operator.bodies) == 2


def test_a_refusal_is_not_tried_again(operator):
    operator.answers = [403]
    with pytest.raises(RuntimeFailure, match="answer 403 after 1 of 3 attempts"):
        hook(operator.url).send(ALERT)
    assert len(operator.bodies) == 1


def test_a_redirect_is_not_followed(operator):
    operator.answers = [302]
    with pytest.raises(RuntimeFailure, match="answer 302"):
        hook(operator.url).send(ALERT)
    assert operator.paths == [SECRET]


def test_a_server_that_does_not_answer_in_time_is_given_up(operator):
    operator.delay = 1.0
    started = time.monotonic()
    with pytest.raises(RuntimeFailure, match="no answer"):
        hook(operator.url, attempts=1, timeout_seconds=0.1).send(ALERT)
    assert time.monotonic() - started < 0.9


def test_an_answer_that_is_no_http_is_a_fault_like_any_other():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"not http at all\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        faults = deliver([ALERT], [hook(f"http://127.0.0.1:{port}{SECRET}", attempts=1)])
    assert "no answer (BadStatusLine)" in faults[0]


@pytest.mark.parametrize("url", ["http://host:port/s3cret", "http://a..b/s3cret", "http://host/s3cret path"])
def test_an_address_that_leads_nowhere_stops_nothing_and_is_not_told(url):
    faults = deliver([ALERT], [hook(url, attempts=1, timeout_seconds=1)])
    assert "no answer" in faults[0]
    assert "s3cret" not in faults[0]


def test_neither_errors_nor_the_log_tell_the_path_of_the_address(operator, caplog):
    caplog.set_level(logging.DEBUG)
    operator.answers = [500]
    faults = deliver([ALERT], [hook(operator.url, attempts=2), hook(unused_address(), attempts=1)])
    assert len(faults) == 2
    assert "s3cret" not in " ".join(faults) + caplog.text
    assert "127.0.0.1" in faults[0]


def test_a_sink_that_fails_stops_neither_the_others_nor_the_next_alert(tmp_path, caplog):
    second = Alert("budget", "2025-05", "2025-05", "info", "none", "alerts_of_budget in 2025-05 is 2")
    (tmp_path / "folder-in-the-way").mkdir()
    path = tmp_path / "alerts.jsonl"
    sinks = [FileSink(tmp_path / "folder-in-the-way"), hook(unused_address(), attempts=1), FileSink(path)]
    faults = deliver([ALERT, second], sinks)
    assert len(faults) == 4
    assert [json.loads(line)["rule"] for line in path.read_text().splitlines()] == ["drift", "budget"]
    assert caplog.text.count("was not delivered") == 4


def test_the_file_keeps_what_it_has_and_gets_one_line_for_each_alert(tmp_path):
    path = tmp_path / "coordinator" / "alerts.jsonl"
    for _ in range(2):
        FileSink(path).send(ALERT)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert {**first, "at": ""} == {**second, "at": ""} == {"at": "", **ALERT.to_dict()}


@pytest.mark.parametrize(("severity", "level"), [("info", "INFO"), ("warning", "WARNING"), ("critical", "ERROR")])
def test_the_log_gets_an_alert_at_its_level(caplog, severity, level):
    caplog.set_level(logging.INFO)
    LogSink().send(Alert("drift", "w", "w", severity, "none", "because"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (level, "alert drift: because (action: none)")
    ]


def test_by_default_only_the_log_is_told():
    assert [type(sink) for sink in sinks_of(AlertsConfig())] == [LogSink]


def test_a_secret_address_comes_from_a_file_that_only_its_owner_reads(tmp_path, operator):
    path = tmp_path / "hook-url"
    path.write_text(operator.url + "\n")
    config = AlertsConfig(file=str(tmp_path / "alerts.jsonl"), webhook=WebhookConfig(url_file=str(path)))
    path.chmod(0o644)
    with pytest.raises(TrustError, match="expected 0600"):
        sinks_of(config)
    path.chmod(0o600)
    assert deliver([ALERT], sinks_of(config)) == ()
    assert operator.paths == [SECRET]


def test_a_file_without_an_address_is_refused_without_telling_what_it_holds(tmp_path: Path):
    path = tmp_path / "hook-url"
    path.write_text("ftp://s3cret")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no web address") as refused:
        WebhookSink(WebhookConfig(url_file=str(path)))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "https://", "https://user:word@host/x"])
def test_an_address_that_is_no_plain_web_address_is_refused(url):
    with pytest.raises(ValidationError, match="webhook's address"):
        WebhookConfig(url=url)


def unused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}{SECRET}"
