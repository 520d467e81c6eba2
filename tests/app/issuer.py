"""A small OpenID provider on this machine: it lets people in who say who they are, and signs with a real key."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "fraudfl", "a client's secret"
Claims = dict[str, Any]


@dataclass
class Issuer:
    """Who can sign in, and what is wrong with the tokens of some.

    Attributes:
        people: Claims by subject.
        asked: Each request's path, as it came in.
    """

    address: str
    people: dict[str, Claims]
    asked: list[str] = field(default_factory=list)
    _key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    _other: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    _codes: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)

    def metadata(self) -> Claims:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "end_session_endpoint": f"{self.address}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> Claims:
        return {"keys": [self._key.as_dict(private=False)]}

    def code(self, subject: str, asked: dict[str, str]) -> str:
        """Let a person in; a code is good for one token."""
        code = secrets.token_urlsafe()
        self._codes[code] = (subject, asked)
        return code

    def token(self, form: dict[str, str]) -> Claims | None:
        """What a client gets for a code; None when it shows the wrong proof."""
        subject, asked = self._codes.pop(form["code"])
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        return {
            "access_token": secrets.token_urlsafe(),
            "token_type": "Bearer",
            "id_token": self._id_token(subject, asked["nonce"]),
        }

    def _id_token(self, subject: str, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": CLIENT,
            "sub": subject,
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
        } | self.people[subject]
        key = self._other if claims.pop("forged", False) else self._key
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)


class _Answers(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.issuer.asked.append(parts.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._say_json(self.issuer.metadata())
        elif parts.path == "/jwks":
            self._say_json(self.issuer.keys())
        elif parts.path == "/authorize":
            # Each person is a link: that stands for a password here.
            links = (f'<a href="/in?{urlencode(asked | {"who": who})}">{who}</a>' for who in self.issuer.people)
            self._say(200, f"<h1>Who are you?</h1>{' '.join(links)}", "text/html")
        elif parts.path == "/in":
            answer = {"code": self.issuer.code(asked["who"], asked), "state": asked["state"]}
            self._go(f"{asked['redirect_uri']}?{urlencode(answer)}")
        elif parts.path == "/logout":
            self._say(200, "<h1>You are logged out</h1>", "text/html")
        else:
            self._say(404, "", "text/plain")

    def do_POST(self) -> None:
        self.issuer.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        kept = f"{CLIENT}:{SECRET}".replace(" ", "+").replace("'", "%27")
        plain = f"{CLIENT}:{SECRET}"
        known = {f"Basic {base64.b64encode(one.encode()).decode()}" for one in (kept, plain)}
        found = self.issuer.token(form) if self.headers["Authorization"] in known else None
        if found is None:
            self._say(401, '{"error": "invalid_client"}', "application/json")
        else:
            self._say_json(found)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test says what it found."""

    def _say_json(self, facts: Claims) -> None:
        self._say(200, json.dumps(facts), "application/json")

    def _say(self, code: int, body: str, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def _go(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()


@contextmanager
def issuing(people: dict[str, Claims]) -> Iterator[Issuer]:
    """An issuer that answers, while it is needed."""

    class Answers(_Answers):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        Answers.issuer = Issuer(f"http://127.0.0.1:{listening.server_address[1]}", people)
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield Answers.issuer
        finally:
            listening.shutdown()
            thread.join()
