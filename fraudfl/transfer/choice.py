"""A codec for a budget of bytes: the finest that surely fits, from exact bounds on what messages take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fraudfl.config_training import Codec, CodecConfig, CodecName, DownName
from fraudfl.errors import PlanError

SMALLEST_KEEP = 0.01
"""Least share of entries that `topk` is chosen with: below it a round carries next to nothing."""
UP_ENVELOPE = 900
"""Most bytes that a reply takes beside its update: ids, the ledger's entry, Flower's metadata."""
DOWN_ENVELOPE = 1300
"""Most bytes that a request takes beside the model: ids, digests, a receipt, Flower's metadata."""
MEMBERS = 1400
"""What naming a cohort adds to a request under secure aggregation, for as many banks as a consortium may have."""
_RANKS: Final[tuple[Literal["float32", "float16", "int8"], ...]] = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Travelling:
    """What has to travel in a round of training.

    Attributes:
        size: Weights of the model, at most.
        tensors: How many tensors they lie in.
        masked: Under secure aggregation: bytes of one masked update, whatever the codec; else None.
    """

    size: int
    tensors: int
    masked: int | None = None

    def most_bytes(self, codec: Codec) -> int:
        """Most bytes of one bank's request and reply in a round, whether the model comes as a step or whole."""
        down = DOWN_ENVELOPE + most_bytes(codec.down, self.size, self.tensors)
        if self.masked is not None:
            return down + MEMBERS + UP_ENVELOPE + self.masked
        return down + UP_ENVELOPE + most_bytes(codec.up, self.size, self.tensors, codec.keep)


def most_bytes(codec: CodecName, size: int, tensors: int, keep: float = 1.0) -> int:
    """Most bytes that `codec.encode` makes of a vector, whatever is in it.

    Args:
        size: Values of the vector.
        tensors: Tensors of its layout.
        keep: Share of entries that `topk` keeps.
    """
    # What Zstandard makes longer is left as it is.
    head = 1 + _varint(size)
    if codec == "topk":
        # As `encode` counts them.
        kept = min(size, max(1, -int(-(keep * size - 1e-9) // 1)))
        return head + _varint(kept) + 4 * tensors + kept + _most_index_bytes(kept, size)
    return head + {"float32": 4 * size, "float16": 2 * size, "int8": 4 * tensors + size}[codec]


def choose_codec(asked: CodecConfig, travelling: Travelling, where: str) -> Codec:
    """Settle what is left to `auto`: the finest codec with which every round fits the budget.

    Both ways are made coarser in step, the way down first, because what it rounds off is added to the next round's
    model. Below int8 both ways, updates are cut to their largest entries, as many as fit.

    Args:
        where: How to call the phase in a message.

    Raises:
        PlanError: when nothing that is allowed fits; it says what the smallest takes.
    """
    budget = asked.max_bytes_per_round
    allowed = _allowed(asked)
    if budget is None:
        return allowed[0]
    for codec in allowed:
        if travelling.most_bytes(codec) <= budget:
            return codec
    if asked.up == "auto" and travelling.masked is None:
        coarsest = allowed[-1].model_copy(update={"up": "topk"})
        keep = _largest_keep(coarsest, travelling, budget)
        if keep >= SMALLEST_KEEP:
            return coarsest.model_copy(update={"keep": keep})
        allowed = [coarsest.model_copy(update={"keep": SMALLEST_KEEP})]
    raise _too_small(where, budget, allowed[-1], travelling)


def _allowed(asked: CodecConfig) -> list[Codec]:
    """What may be chosen from, finest first, but for `topk`."""
    ups: tuple[CodecName, ...] = _RANKS if asked.up == "auto" else (asked.up,)
    downs: tuple[DownName, ...] = _RANKS if asked.down == "auto" else (asked.down,)
    pairs = [(up, down) for up in ups for down in downs]
    return [Codec(up=up, down=down, keep=asked.keep) for up, down in sorted(pairs, key=_coarseness)]


def _coarseness(pair: tuple[CodecName, DownName]) -> tuple[int, int, int]:
    up, down = (_RANKS.index(name) if name in _RANKS else len(_RANKS) for name in pair)
    return max(up, down), up + down, up


def _largest_keep(codec: Codec, travelling: Travelling, budget: int) -> float:
    """The largest share, in ten-thousandths, that fits; 0 where none does."""
    fits, too_much = 0, 10_001
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        taken = travelling.most_bytes(codec.model_copy(update={"keep": middle / 10_000}))
        fits, too_much = (middle, too_much) if taken <= budget else (fits, middle)
    return fits / 10_000


def _too_small(where: str, budget: int, smallest: Codec, travelling: Travelling) -> PlanError:
    least = travelling.most_bytes(smallest)
    said = (
        f"{where}: codec.max_bytes_per_round is {budget:,}, and a model of up to {travelling.size:,} weights takes up "
        f"to {least:,} bytes a round and bank with the smallest codec that is allowed"
    )
    if travelling.masked is not None:
        return PlanError(
            f"{said} (down: {smallest.down}); {travelling.masked:,} of them are the masked update, which no codec "
            f"makes smaller. Allow {least:,}, or make the model smaller (`model.hidden`); what a bank sends in all the "
            f"rounds together is brought down by asking it in fewer (`cohort`, `rounds`)"
        )
    kept = f", keep: {smallest.keep:g}" if smallest.up == "topk" else ""
    return PlanError(
        f"{said} (up: {smallest.up}, down: {smallest.down}{kept}). Allow {least:,}, leave `up` and `down` to `auto`, "
        f"or make the model smaller (`model.hidden`)"
    )


def _varint(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)


def _most_index_bytes(kept: int, size: int) -> int:
    """Most bytes of `kept` positions below `size`, as `indices.encode_indices` writes them."""
    # Gaps add up to what is not kept at most; the two streams are padded to a byte each.
    bits = min(kept * (1 + width) + ((size - kept) >> width) for width in range(40))
    return 1 + (bits + 7) // 8 + 1
