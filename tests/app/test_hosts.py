"""A page of somebody else cannot talk to the dashboard of whoever looks at both."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest


def handshake(address: str, host: str, origin: str) -> str:
    """The first line of the answer to a WebSocket's opening."""
    there = urlsplit(address)
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}",
        f"Origin: {origin}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: streamlit",
    ]
    with socket.create_connection((there.hostname, there.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection.recv(256).decode().splitlines()[0]


def test_the_dashboards_own_page_is_let_in(address: str) -> None:
    assert " 101 " in handshake(address, urlsplit(address).netloc, address)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", "http://evil.example"),  # a name of theirs that was made to lead here
        (None, "http://evil.example"),
    ],
)
def test_a_foreign_page_is_not(address: str, host: str | None, origin: str) -> None:
    assert " 403 " in handshake(address, host or urlsplit(address).netloc, origin)
