"""The coordinator's receipts: one for each release, the same again, kept for good and handed out per bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fraudfl.errors import CheckpointError, TrustError
from fraudfl.protocols import Reply
from fraudfl.trust.keys import new_key, public_text
from fraudfl.trust.receipts import parse_receipt, read_receipts
from server.commands.receipts import receipts
from server.trust.receipts import RECEIPTS_FILE, Receipts

OPERATOR = new_key()
REPLY = Reply(bank="north", kind="train", key="p/i/1/1/train/c", entry=2, entry_hash="ab" * 32, payloads={"u": b"1"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "coordinator").mkdir()
    return tmp_path / "coordinator" / RECEIPTS_FILE


def test_a_release_gets_one_receipt_and_the_same_one_when_it_comes_again(path: Path) -> None:
    first = Receipts(path, OPERATOR).receipt(REPLY)
    assert parse_receipt(first, "north", public_text(OPERATOR), "here").key == REPLY.key
    assert Receipts(path, OPERATOR).receipt(REPLY) == first
    assert list(Receipts(path).of_bank("north")) == [first]


def test_receipts_are_handed_out_per_bank_in_the_order_of_its_ledger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.trust.receipts._PAGE", 2)
    kept = Receipts(path, OPERATOR)
    for entry in (8, 2, 10, 6, 4):
        kept.receipt(replace(REPLY, entry=entry, key=f"p/i/{entry}/1/train/c"))
    kept.receipt(replace(REPLY, bank="south"))
    found = [parse_receipt(data, "north", public_text(OPERATOR), "here").entry for data in kept.of_bank("north")]
    assert found == [2, 4, 6, 8, 10]
    assert list(kept.of_bank("west")) == []


def test_a_ledger_that_was_written_anew_gets_receipts_beside_the_old_ones(path: Path) -> None:
    kept = Receipts(path, OPERATOR)
    kept.receipt(REPLY)
    kept.receipt(replace(REPLY, entry_hash="cd" * 32))
    assert len(list(kept.of_bank("north"))) == 2


def test_without_the_operators_key_or_a_working_file_there_is_no_receipt(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="without the operator's key"):
        Receipts(path).receipt(REPLY)
    with pytest.raises(TrustError, match="names no entry"):
        Receipts(path, OPERATOR).receipt(replace(REPLY, entry=0))
    assert list(Receipts(path).of_bank("north")) == []
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 100)
    with pytest.raises(CheckpointError, match="cannot be kept or read"):
        Receipts(broken, OPERATOR)


def test_the_command_writes_a_file_that_a_bank_can_read(path: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(receipts)
    words = ["north", "--out", str(tmp_path / "out"), "--workspace", str(tmp_path)]
    assert isinstance(CliRunner().invoke(app, words).exception, TrustError)
    Receipts(path, OPERATOR).receipt(REPLY)
    said = CliRunner().invoke(app, words)
    assert (said.exit_code, "1 receipts of bank north" in said.output) == (0, True)
    assert [one.entry for one in read_receipts(tmp_path / "out", "north", public_text(OPERATOR))] == [2]
    assert isinstance(CliRunner().invoke(app, ["south", *words[1:]]).exception, TrustError)
