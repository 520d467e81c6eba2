"""A bank's side of secure aggregation in one phase instance: its key, its peers, and what masks and opens its sums.

secagg/<instance>-<plan>.key     this bank's secret for the phase, 0600, made here and never sent
secagg/<instance>-<plan>.peers   the signed phase keys of all banks, as the coordinator handed them on
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fraudfl.errors import ReleaseRefused, TrustError, WireError
from fraudfl.folder import BankFolder, write_bytes
from fraudfl.plan import Plan
from fraudfl.privacy.noise import NoiseSource
from fraudfl.protocols import Kind, Request, Scalar
from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.bitpack import pack
from fraudfl.secagg.masking import Masker
from fraudfl.secagg.peers import Peers
from fraudfl.secagg.phase_keys import PhaseSecret
from fraudfl.secagg.survivors import check_confirmations, confirm, unpack_confirmations
from fraudfl.summed import PARTS, Part, asked_digest, attempt_of, parts_of, read_members
from fraudfl.trust.keys import PrivateKey, load_key
from fraudfl.trust.roster import Roster, read_roster

_noise = NoiseSource()


class Sealing:
    """What one bank knows of the others in one phase instance, and what it lets them and the coordinator know."""

    def __init__(self, folder: BankFolder, plan: Plan, instance: str) -> None:
        """Open the phase's secrets, which are made when the bank joins."""
        self._folder = folder
        self._plan = plan
        self._instance = instance
        assert plan.secure_aggregation is not None  # the caller asks only where the plan has it
        self._terms = plan.secure_aggregation
        name = f"{instance}-{plan.hash[:16]}"
        self._key_file = folder.path / "secagg" / f"{name}.key"
        self._peers_file = folder.path / "secagg" / f"{name}.peers"

    def phase_key(self) -> bytes:
        """This bank's public key for the phase, signed with its long-term key; the secret is made once."""
        if not self._key_file.exists():
            self._key_file.parent.mkdir(mode=0o700, exist_ok=True)
            PhaseSecret.create(self._key_file)
        secret = PhaseSecret.load(self._key_file)
        return secret.sign(self._folder.bank, self._plan.hash, self._instance, self._long_term()).to_bytes()

    def take_peers(self, request: Request) -> None:
        """Keep everybody's phase keys, once each was checked against the roster in this bank's own folder."""
        data = request.payloads.get("peers")
        if data is None:
            raise WireError("the request brings no phase keys")
        peers = Peers.from_bytes(data, self._roster(), self._plan.hash, self._instance)
        own = PhaseSecret.load(self._key_file).agreement
        if peers.key(self._folder.bank).agreement != own:
            raise ReleaseRefused("the list of phase keys has another key for this bank than its own; nothing is masked")
        if peers.digest != request.cohort:
            raise WireError("the request names another list of phase keys than it brings")
        write_bytes(self._peers_file, data)

    def attempt(self, request: Request, kind: Kind) -> Attempt:
        """The attempt that a request belongs to.

        Raises:
            ReleaseRefused: when this bank is not in the cohort, or the cohort is smaller than the plan allows.
            WireError: when the request speaks of other phase keys, or another cohort, than it names.
        """
        peers = self._circle()[1]
        wanted = str(request.values.get("peers", ""))
        if peers.digest != wanted:
            raise WireError(f"the phase keys here are list {peers.digest[:12]}, the request's {wanted[:12]}; send them")
        cohort = _members(request, "members", peers)
        if self._folder.bank not in cohort:
            raise ReleaseRefused("this bank is not in the cohort that the request names")
        if len(cohort) < self._terms.min_cohort:
            raise ReleaseRefused(
                f"the cohort has {len(cohort)} banks; under this plan no sum over fewer than "
                f"{self._terms.min_cohort} is opened"
            )
        asked = str(request.values.get("asked", "")) if request.about else asked_digest(request.values)
        where = (request.round, request.attempt)
        attempt = attempt_of(self._plan, self._instance, kind, where, cohort, peers.digest, asked)
        if attempt.digest != request.cohort:
            raise WireError("the request's cohort digest is not that of the cohort it names")
        return attempt

    def seal(self, request: Request, vectors: Mapping[str, NDArray[np.float64]], width: int) -> dict[str, bytes]:
        """Encode and mask what is to be added up; the plain vectors go nowhere."""
        attempt = self.attempt(request, request.kind)
        parts = parts_of(self._plan, request.kind, width, len(attempt.cohort))
        return {part.name: self._masked(attempt, part, vectors[part.name]) for part in parts}

    def confirm(self, request: Request) -> tuple[dict[str, Scalar], dict[str, bytes]]:
        """Sign the survivor set that the coordinator names; the gate sees to it that there is one per attempt."""
        attempt, survivors = self._about(request)
        record = confirm(attempt, survivors, self._folder.bank, self._long_term(), self._terms.min_cohort)
        return {"survivors": str(request.values["survivors"])}, {"confirmation": record.to_bytes()}

    def reveal(self, request: Request) -> tuple[dict[str, Scalar], dict[str, bytes]]:
        """What opens the sum over one survivor set, once enough banks have confirmed it."""
        attempt, survivors = self._about(request)
        if self._terms.coordinator == "malicious":
            roster = self._roster()
            check_confirmations(
                unpack_confirmations(_payload(request, "confirmations"), roster),
                attempt,
                survivors,
                roster,
                self._terms.min_cohort,
                self._terms.colluding,
            )
        names = PARTS[_kind(request)]
        revealed = self._circle()[0].reveal(attempt, names, survivors, self._terms.min_cohort, self._long_term())
        return {"survivors": str(request.values["survivors"])}, {"reveal": revealed.to_bytes()}

    def _about(self, request: Request) -> tuple[Attempt, tuple[str, ...]]:
        attempt = self.attempt(request, _kind(request))
        return attempt, _members(request, "survivors", self._circle()[1])

    def _masked(self, attempt: Attempt, part: Part, vector: NDArray[np.float64]) -> bytes:
        residues = part.encoding.encode(vector, _noise.uniform(part.size))
        masked = self._circle()[0].mask(attempt, part.name, residues, part.encoding.bits, self_mask=self._terms.recover)
        return pack(masked, part.encoding.bits)

    def _circle(self) -> tuple[Masker, Peers]:
        if not self._key_file.exists() and self._peers_file.exists():
            raise ReleaseRefused("this bank's secret for the phase is gone, and another is made in another phase only")
        if not self._peers_file.exists():
            raise WireError("the banks' phase keys are not here; send them again")
        files = (self._peers_file, self._key_file, self._folder.path / "roster.json")
        stamps = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
        return _circle(self._folder.path, self._folder.bank, files[:2], (self._plan.hash, self._instance), stamps)

    def _roster(self) -> Roster:
        return roster_of(self._folder.path)

    def _long_term(self) -> PrivateKey:
        return load_key(self._folder.path / "keys" / "bank.key")


def roster_of(folder: Path) -> Roster:
    """The roster in a bank's own folder, checked against the operator's key that the bank pinned.

    Raises:
        TrustError: when one of the two is missing; without them nobody's key can be checked.
    """
    try:
        operator = (folder / "operator.pub").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(
            f"{folder / 'operator.pub'}: cannot be read ({error}); secure aggregation needs the operator's kit: take "
            "it with `bank-node join`"
        ) from error
    return read_roster(folder / "roster.json", operator)


@lru_cache(maxsize=2048)
def _circle(
    folder: Path, bank: str, files: tuple[Path, Path], phase: tuple[str, str], _stamps: tuple[int, ...]
) -> tuple[Masker, Peers]:
    """The peers, and what holds the secrets shared with each: worked out once, and anew when a file changes."""
    peers = Peers.from_bytes(files[0].read_bytes(), roster_of(folder), *phase)
    return Masker(PhaseSecret.load(files[1]), bank, peers), peers


def _members(request: Request, name: str, peers: Peers) -> tuple[str, ...]:
    return read_members(str(request.values.get(name, "")), peers.banks)


def _payload(request: Request, name: str) -> bytes:
    data = request.payloads.get(name)
    if data is None:
        raise WireError(f"the request to {request.kind} brings no {name!r}")
    return data


def _kind(request: Request) -> Kind:
    if not request.about:
        raise WireError(f"the request to {request.kind} does not say which sum it is about")
    return request.about
