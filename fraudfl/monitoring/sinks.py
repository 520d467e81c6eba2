"""Where alerts go: the log, a file of JSON lines, and an operator's web address. A sink that fails stops nothing."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from email.message import Message
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from fraudfl.errors import ConfigError, FraudflError, RuntimeFailure
from fraudfl.monitoring.rules import Alert
from fraudfl.monitoring.settings import AlertsConfig, Severity, WebhookConfig
from fraudfl.trust.keys import now_text, read_secret

log = logging.getLogger(__name__)

_LEVEL: dict[Severity, int] = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class AlertSink(Protocol):
    """Something that alerts are sent to."""

    def send(self, alert: Alert) -> None:
        """Send one alert; raises FraudflError or OSError when it could not."""


class LogSink:
    """Writes alerts to the log."""

    def send(self, alert: Alert) -> None:
        """Log at the level of its severity."""
        log.log(_LEVEL[alert.severity], "alert %s: %s (action: %s)", alert.rule, alert.reason, alert.action)


class FileSink:
    """Appends alerts to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        """Name the file; it and its folder are made when the first alert comes."""
        self._path = path

    def send(self, alert: Alert) -> None:
        """Append one whole line, and have it on disk; raises OSError when it could not."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"at": now_text(), **alert.to_dict()}, ensure_ascii=False) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


class WebhookSink:
    """Posts alerts to a web address. What is logged or raised names its host, never its path, which may be secret."""

    def __init__(self, config: WebhookConfig) -> None:
        """Read the address.

        Raises:
            ConfigError: if the file holds no http(s) address.
            TrustError: if the file cannot be read, or by more than its owner.
        """
        self._config = config
        self._url = config.url or _address_in(Path(config.url_file or ""))
        self._host = urlsplit(self._url).hostname
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, alert: Alert) -> None:
        """Post one alert; tries again where the fault may pass.

        Raises:
            RuntimeFailure: if every attempt failed, or the other side refused it for good.
        """
        pause = self._config.pause_seconds
        for attempt in range(1, self._config.attempts + 1):
            fault, may_pass = self._post(alert)
            if fault is None:
                return
            if not may_pass or attempt == self._config.attempts:
                raise RuntimeFailure(
                    f"alert webhook at {self._host}: {fault} after {attempt} of {self._config.attempts} attempts; "
                    "expected an answer 2xx. Check the address and that the other side is up."
                )
            time.sleep(pause)
            pause *= 2

    def _post(self, alert: Alert) -> tuple[str | None, bool]:
        """What went wrong, if anything, and whether it may pass by itself."""
        body = json.dumps({"at": now_text(), **alert.to_dict()}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "fraudfl"}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._config.timeout_seconds):
                return None, False
        except urllib.error.HTTPError as error:
            with error:
                return f"answer {error.code}", error.code in (408, 429) or error.code >= 500
        except (OSError, http.client.HTTPException, ValueError) as error:
            # No connection, no answer in time, an answer that is no HTTP, an address that cannot be one: by type only,
            # because their texts may hold the address.
            reason = getattr(error, "reason", error)
            return f"no answer ({type(reason).__name__})", True


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an error: an alert goes where the operator said, and nowhere else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow nothing."""


def sinks_of(config: AlertsConfig, base: Path = Path()) -> tuple[AlertSink, ...]:
    """Make the configured sinks; the log is always one.

    Args:
        config: Which.
        base: Folder that a relative path of the file starts from.

    Raises:
        ConfigError, TrustError: if a webhook's address cannot be used; found at the start, not at the first alert.
    """
    sinks: list[AlertSink] = [LogSink()]
    if config.file is not None:
        sinks.append(FileSink(base / config.file))
    if config.webhook is not None:
        sinks.append(WebhookSink(config.webhook))
    return tuple(sinks)


def deliver(alerts: Iterable[Alert], sinks: Sequence[AlertSink]) -> tuple[str, ...]:
    """Send alerts to every sink; a failure is logged and returned as text, and the rest goes on."""
    faults: list[str] = []
    for alert in alerts:
        for sink in sinks:
            try:
                sink.send(alert)
            except (FraudflError, OSError) as error:
                fault = f"alert {alert.rule!r} of {alert.window} was not delivered by {type(sink).__name__}: {error}"
                log.warning("%s", fault)
                faults.append(fault)
    return tuple(faults)


def _address_in(path: Path) -> str:
    url = read_secret(path).decode("utf-8", "replace").strip()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{path}: holds no web address; expected one line with https://… or http://…")
    return url
