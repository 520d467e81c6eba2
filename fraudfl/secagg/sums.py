"""The coordinator's side: masked vectors are added as they arrive, and the sum is opened, or not."""

from __future__ import annotations

from collections.abc import Iterable

from fraudfl.secagg.attempt import Attempt
from fraudfl.secagg.errors import SecureAggregationError, UnmaskingError
from fraudfl.secagg.reveals import Reveal, Seeds
from fraudfl.secagg.streams import Residues, add_stream, check_residues, empty_total, modulo


class MaskedSum:
    """The running sum of one vector of one attempt. It holds one vector, however many banks there are."""

    def __init__(self, attempt: Attempt, part: str, size: int, bits: int, *, self_masked: bool) -> None:
        """Begin at zero.

        Args:
            attempt: Whose cohort is summed.
            part: Which vector, as in `Masker.mask`.
            size: Its length.
            bits: 1 to 64.
            self_masked: Whether banks put self masks on, so that the sum is opened by reveals.
        """
        self._attempt = attempt
        self._part = part
        self._total = empty_total(size, bits)
        self._bits = bits
        self._self_masked = self_masked
        self._added: set[str] = set()

    @property
    def survivors(self) -> tuple[str, ...]:
        """Banks whose vectors are in the sum, sorted."""
        return tuple(sorted(self._added))

    @property
    def lost(self) -> tuple[str, ...]:
        """Banks of the cohort whose vectors are not in the sum, sorted."""
        return tuple(bank for bank in self._attempt.cohort if bank not in self._added)

    def add(self, bank: str, residues: Residues) -> None:
        """Add one bank's masked vector.

        Args:
            bank: Of the cohort; each once.
            residues: uint64, shape (size,), below 2^bits.

        Raises:
            SecureAggregationError: naming the bank; the sum is then as it was.
        """
        if bank not in self._attempt.cohort:
            raise SecureAggregationError(f"{self._what}: bank {bank} is not in the cohort")
        if bank in self._added:
            raise SecureAggregationError(f"{self._what}: bank {bank} has answered already")
        check_residues(residues, self._total.size, self._bits, f"{self._what}: bank {bank}")
        self._total += residues.astype(self._total.dtype)
        self._added.add(bank)

    def complete(self) -> Residues:
        """The sum when nobody is lost and there are no self masks: all masks cancel.

        Returns:
            uint64, shape (size,): the sum modulo 2^bits.

        Raises:
            UnmaskingError: when a bank of the cohort is missing; this attempt is over then.
            SecureAggregationError: when there are self masks.
        """
        if self._self_masked:
            raise SecureAggregationError(f"{self._what}: the vectors have self masks; expected reveals")
        if self.lost:
            raise UnmaskingError(
                f"{self._what}: no answer from {', '.join(self.lost)}; a plan with one exchange needs the whole "
                "cohort. This attempt is dropped",
                self.lost,
            )
        return modulo(self._total, self._bits)

    def unmask(self, reveals: Iterable[Reveal]) -> Residues:
        """Open the sum with the survivors' reveals, each checked by `read_reveal`.

        Args:
            reveals: One of each survivor.

        Returns:
            uint64, shape (size,): the sum over the survivors modulo 2^bits.

        Raises:
            UnmaskingError: when a survivor's reveal is missing; nothing is opened then.
            SecureAggregationError: when a reveal does not fit the survivor set, or there are no self masks.
        """
        if not self._self_masked:
            raise SecureAggregationError(f"{self._what}: the vectors have no self masks; expected no reveals")
        revealed = self._revealed(reveals)
        missing = sorted(self._added - revealed.keys())
        if missing or not revealed:
            raise UnmaskingError(
                f"{self._what}: no reveal from {', '.join(missing) or 'anybody'}; every survivor's is needed, and no "
                "other set will be confirmed. This attempt is dropped",
                missing,
            )
        total = self._total.copy()
        for bank, seeds in revealed.items():
            add_stream(total, bytes.fromhex(seeds.own), minus=True)
            for lost, seed in seeds.pairs.items():
                # The survivor added this stream when its id comes first, and subtracted it otherwise.
                add_stream(total, bytes.fromhex(seed), minus=bank < lost)
        return modulo(total, self._bits)

    def _revealed(self, reveals: Iterable[Reveal]) -> dict[str, Seeds]:
        found: dict[str, Seeds] = {}
        for reveal in reveals:
            if reveal.bank in found:
                raise SecureAggregationError(f"{self._what}: bank {reveal.bank} revealed twice; expected once")
            found[reveal.bank] = reveal.seeds(self._attempt, self._part, self.survivors)
        return found

    @property
    def _what(self) -> str:
        return f"{self._part}, round {self._attempt.round}, attempt {self._attempt.attempt}"
