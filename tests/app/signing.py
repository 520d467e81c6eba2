"""Access files for tests: who is who, in one consortium."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from issuer import CLIENT, SECRET

PEOPLE: dict[str, dict[str, Any]] = {
    "vera": {"email": "vera@hub.example", "email_verified": True, "name": "Vera Viewer"},
    "ana": {"email": "ana@hub.example", "email_verified": True, "name": "Ana Analyst"},
    "otto": {"groups": ["everybody", "operators"], "name": "Otto Operator"},
    "cora": {"email": "cora@hub.example", "email_verified": True, "name": "Cora Compliance"},
    "bea": {"email": "bea@bank.example", "email_verified": True, "name": "Bea Banker"},
    "uma": {"email": "uma@hub.example", "email_verified": True, "name": "Uma *Unknown*"},
    "mal": {"email": "ana@hub.example", "email_verified": False, "name": "Mal"},
    "forged": {"groups": ["operators"], "name": "Forged", "forged": True},
    "expired": {"groups": ["operators"], "name": "Expired", "exp": 1_000_000_000},
    "elsewhere": {"groups": ["operators"], "name": "Elsewhere", "aud": "another client"},
}


def access_file(folder: Path, *, issuer: str, port: int, bank: str) -> Path:
    """Write an access file with its secrets; `bank` is the one whose people Bea is of."""
    secret = folder / "oidc.yaml"
    secret.write_text(f'client_secret: "{SECRET}"\n')
    secret.chmod(0o600)
    path = folder / "access.yaml"
    path.write_text(
        f"""
oidc:
  metadata_url: {issuer}/.well-known/openid-configuration
  client_id: {CLIENT}
  secrets: oidc.yaml
  redirect_uri: http://127.0.0.1:{port}/oauth2callback
contact: the desk (desk@hub.example)
people:
  - {{email: vera@hub.example, role: viewer}}
  - {{email: ana@hub.example, role: analyst}}
  - {{email: cora@hub.example, role: compliance}}
  - {{email: bea@bank.example, role: analyst, bank: {bank}}}
  - {{group: operators, role: operator}}
"""
    )
    return path


def claims(who: str) -> dict[str, Any]:
    """What Streamlit's login says of somebody who signed in just now."""
    return {"is_logged_in": True, "iat": int(time.time()), "sub": who} | PEOPLE[who]
