"""Transfer: bytes that crossed the banks' borders, against the raw data."""

from __future__ import annotations

import streamlit as st

from app import reading
from app.parts import charts, frame
from app.parts.figures import figure_metric
from app.parts.tables import MB, Row, table
from app.reading import PhaseRecords
from app.roles import banks_shown
from fraudfl.report.words import count_of, size
from fraudfl.results.facts import PhaseResult, Results
from fraudfl.results.pictures.canvas import Ink
from fraudfl.results.spelling import KIND_NAMES, share
from fraudfl.transfer.meter import Direction
from fraudfl.transfer.rounds import TrafficByRound
from server.store.workspace import Workspace

_UP, _DOWN = "up, from banks", "down, to banks"
_WAYS: dict[str, Ink] = {_UP: "blue", _DOWN: "orange"}
_DIRECTIONS: dict[Direction, str] = {"up": _UP, "down": _DOWN}
_PACKED: dict[str, Ink] = {"as the codec packed it": "blue", "as plain float32": "orange"}
_ALL = "all banks"
_RAW: dict[str, Ink] = {"transferred": "blue", "raw data, zstd Parquet": "sky", "raw data, CSV": "orange"}


def show() -> None:
    """Draw the page."""
    about = "Bytes of all messages that crossed the banks' borders, both ways, as they were measured."
    frame.page("Transfer", about, _draw)


def _draw(workspace: Workspace) -> None:
    found = reading.results(workspace)
    frame.problems(found)
    _all_phases(found)
    phase = frame.choose_phase(found.phases, found.headline)
    kept = reading.records(workspace, phase.name)
    _metrics(phase)
    _rounds(phase, kept)
    _codec(phase, kept)
    _kinds(phase)
    _banks(phase, kept)


def _all_phases(found: Results) -> None:
    st.header("Against the raw data, phase by phase", anchor=False)
    rows: list[Row] = [
        {"phase": phase.name, "what": what, "MB": amount / MB}
        for phase in found.phases
        for what, amount in zip(
            _RAW,
            (phase.transfer.up + phase.transfer.down, phase.transfer.raw_parquet, phase.transfer.raw_csv),
            strict=True,
        )
        if amount is not None
    ]
    chart = charts.lying(rows, name="phase", value="MB", part="what", title="megabytes", inks=_RAW)
    charts.show(chart, "Bytes transferred in each phase, beside the training windows as CSV and as Parquet.")
    sums: list[Row] = []
    up = down = 0
    for phase in found.phases:
        moved = phase.transfer
        up, down = up + moved.up, down + moved.down
        sums.append(
            {
                "phase": phase.name,
                "up, MB": round(moved.up / MB, 3),
                "down, MB": round(moved.down / MB, 3),
                "all phases so far, MB": round((up + down) / MB, 3),
                "raw CSV, MB": None if moved.raw_csv is None else round(moved.raw_csv / MB, 3),
                "raw Parquet, MB": None if moved.raw_parquet is None else round(moved.raw_parquet / MB, 3),
                "saved against CSV": share(None if moved.vs_csv is None else moved.vs_csv.value),
                "saved against Parquet": share(moved.vs_parquet),
                "saved at the worst bank": share(moved.worst),
            }
        )
    table("transfer-phases", sums, "Transfer by phase")


def _metrics(phase: PhaseResult) -> None:
    moved = phase.transfer
    cells = st.columns(4)
    cells[0].metric("Up, from banks", size(moved.up), border=True, height="stretch")
    cells[1].metric("Down, to banks", size(moved.down), border=True, height="stretch")
    with cells[2]:
        figure_metric("Saved against CSV", moved.vs_csv, percent=True, spread="banks")
    cells[3].metric("Saved against Parquet", share(moved.vs_parquet), border=True, height="stretch")
    if moved.vs_csv is not None:
        st.caption(f"The bank that saved least saved {share(moved.worst)} of its data as CSV.")
    else:
        st.caption("The size of the banks' data is not known here, so nothing can be compared with it.")


def _rounds(phase: PhaseResult, kept: PhaseRecords) -> None:
    st.header("By round", anchor=False)
    told = TrafficByRound.from_events(kept.rounds.items())
    if not told.all:
        st.caption(f"{phase.name} has no rounds of training and no windows.")
        return
    shown = banks_shown(told.banks)
    chosen = st.selectbox("Bank", [_ALL, *shown], key="bank", bind="query-params", width=320) if shown else _ALL
    bank = None if chosen in (None, _ALL) else chosen
    whose = bank or _ALL
    rows: list[Row] = [
        {"round": number, "way": way, "MB": amount / MB}
        for number, moved in told.moved(bank).items()
        for way, amount in ((_UP, moved.up), (_DOWN, moved.down))
    ]
    titles = ("round or window", "megabytes")
    chart = charts.stacked(rows, name="round", value="MB", part="way", titles=titles, inks=_WAYS)
    charts.show(chart, f"Bytes up and down of {whose} in each of {count_of(len(told.moved(bank)), 'round')}.")
    meter = kept.state.meter
    rest = told.after(meter.total() if bank is None else meter.by_bank()[bank], bank)
    st.caption(
        "The first holds all that came before it, too: who is there, keys, sketches. What came after the last, such as "
        f"evaluation, is in no bar: {size(rest.up)} up, {size(rest.down)} down."
    )
    with st.expander("Rounds as a table"):
        table(f"{phase.name}-rounds-transfer", rows, f"Transfer of {phase.name} by round, {whose}")
        each: list[Row] = [
            {"bank": one, "round": number, "up, MB": moved.up / MB, "down, MB": moved.down / MB}
            for one in shown
            for number, moved in told.moved(one).items()
        ]
        table(f"{phase.name}-banks-rounds-transfer", each, f"Transfer of {phase.name} by bank and round")


def _codec(phase: PhaseResult, kept: PhaseRecords) -> None:
    st.header("What the codec saved", anchor=False)
    parameters = kept.state.model.size
    rows: list[Row] = [
        {"way": way, "what": what, "MB": amount / MB}
        for direction, way in _DIRECTIONS.items()
        if (one := kept.state.weights.get(direction)) is not None
        for what, amount in zip(_PACKED, (one.bytes, one.plain(parameters)), strict=True)
    ]
    if not rows or parameters == 0:
        st.caption(f"No weights were counted in {phase.name}.")
        return
    chart = charts.lying(rows, name="way", value="MB", part="what", title="megabytes", inks=_PACKED)
    charts.show(chart, "Weight vectors as they were sent, beside the same as plain float32.")
    said = [
        f"{way}: {count_of(one.vectors, 'vector')} of {parameters:,} weights, {share(one.saved(parameters))} saved"
        for direction, way in _DIRECTIONS.items()
        if (one := kept.state.weights.get(direction)) is not None
    ]
    st.caption(f"{'; '.join(said)}. Against plain float32; without the envelopes of messages.")
    table(f"{phase.name}-codec", rows, f"Weights of {phase.name} as sent and as float32")


def _kinds(phase: PhaseResult) -> None:
    st.header("By kind of message", anchor=False)
    kinds = sorted(phase.transfer.kinds, key=lambda one: -(one.up + one.down))
    rows: list[Row] = [
        {"kind": KIND_NAMES.get(one.kind, one.kind), "way": way, "MB": amount / MB}
        for one in kinds
        for way, amount in ((_UP, one.up), (_DOWN, one.down))
    ]
    if not rows:
        st.caption("No message was sent yet.")
        return
    chart = charts.lying(rows, name="kind", value="MB", part="way", title="megabytes", inks=_WAYS)
    charts.show(chart, "Bytes up and down of each kind of message.")
    with st.expander("Kinds as a table"):
        table(f"{phase.name}-kinds", rows, f"Transfer of {phase.name} by kind of message")


def _banks(phase: PhaseResult, kept: PhaseRecords) -> None:
    moved = kept.state.meter.by_bank()
    shown = banks_shown(moved)
    if moved and not shown:
        return
    st.header("By bank", anchor=False)
    banks = sorted(((bank, moved[bank]) for bank in shown), key=lambda one: (-one[1].total, one[0]))
    rows: list[Row] = [
        {"bank": bank, "way": way, "MB": amount / MB}
        for bank, one in banks
        for way, amount in ((_UP, one.up), (_DOWN, one.down))
    ]
    if not rows:
        st.caption("No bank has sent or received anything yet.")
        return
    titles = ("banks, by bytes", "megabytes")
    chart = charts.stacked(rows, name="bank", value="MB", part="way", titles=titles, inks=_WAYS)
    charts.show(chart, f"Bytes up and down of each of {count_of(len(banks), 'bank')}, those that moved most first.")
    with st.expander("Banks as a table"):
        table(
            f"{phase.name}-banks-transfer",
            [{"bank": bank, "up, MB": one.up / MB, "down, MB": one.down / MB} for bank, one in banks],
            f"Transfer of {phase.name} by bank",
        )
