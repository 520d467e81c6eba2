"""What the coordinator sent this bank in a phase: the encoder and the models, checked by digest and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fraudfl.errors import WireError
from fraudfl.features.encoder import Encoder
from fraudfl.folder import save_npy, write_bytes
from fraudfl.models.mlp import build_model, layout
from fraudfl.plan import Plan
from fraudfl.protocols import Request, Vector
from fraudfl.transfer.codec import decode
from fraudfl.transfer.model import start_vector, vector_digest


class Received:
    """The folder of one phase instance at a bank."""

    def __init__(self, bank_folder: Path, instance: str) -> None:
        """Open the folder, creating it when there is none."""
        self._path = bank_folder / "phases" / instance
        self._path.mkdir(parents=True, exist_ok=True)

    def encoder(self, request: Request) -> Encoder:
        """The encoder that the request pins; kept when it came along."""
        wanted = str(request.values.get("encoder", ""))
        path = self._path / "encoder.json"
        if "encoder" in request.payloads:
            sent = Encoder.from_bytes(request.payloads["encoder"])
            _same("encoder", sent.digest, wanted)
            write_bytes(path, request.payloads["encoder"])
            return sent
        if not path.exists():
            raise WireError("the encoder of this phase is not here; send it again")
        kept = Encoder.from_bytes(path.read_bytes())
        _same("encoder", kept.digest, wanted)
        return kept

    def model(self, request: Request, plan: Plan, width: int) -> Vector:
        """The model of the request's version: sent whole, as a delta to the one before, kept, or the public start.

        A plan with a given start has version 0 sent, too.
        """
        version = int(request.values.get("version", 0))
        shape = layout(build_model(plan.model, width))
        if "model" in request.payloads:
            vector = decode(request.payloads["model"], shape)
        elif "delta" in request.payloads:
            before = self._kept(version - 1, plan, request, width)
            vector = before + decode(request.payloads["delta"], shape)
        else:
            vector = self._kept(version, plan, request, width)
        _same(f"model version {version}", vector_digest(vector), str(request.values.get("model", "")))
        self._keep(version, vector)
        return vector

    def residual(self, round_number: int, size: int) -> Vector:
        """What error feedback held back after the round before."""
        path = self._path / f"residual-{round_number - 1}.npy"
        if round_number <= 1 or not path.exists():
            return np.zeros(size, dtype=np.float32)
        kept: Vector = np.load(path, allow_pickle=False)
        return kept

    def keep_residual(self, round_number: int, residual: Vector) -> None:
        """Keep what error feedback holds back after this round."""
        save_npy(self._path / f"residual-{round_number}.npy", residual)
        (self._path / f"residual-{round_number - 2}.npy").unlink(missing_ok=True)

    def _kept(self, version: int, plan: Plan, request: Request, width: int) -> Vector:
        if version == 0 and not plan.given_start:
            return start_vector(plan, width, request.values)
        path = self._path / f"model-{version}.npy"
        if not path.exists():
            raise WireError(f"model version {version} is not here; send the model whole")
        kept: Vector = np.load(path, allow_pickle=False)
        return kept

    def _keep(self, version: int, vector: Vector) -> None:
        save_npy(self._path / f"model-{version}.npy", vector)
        # Two versions stay: after a crash the coordinator may send the last delta again.
        (self._path / f"model-{version - 2}.npy").unlink(missing_ok=True)


def _same(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise WireError(f"{what} has digest {found[:12]}, the request pins {wanted[:12]}")
