"""`bank-node ledger`: what it shows, what its check against receipts finds, and how a backup is mended."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import PRIVATE, asking, draft_of, make_bank, plan_of

from bank_nodes import cli
from bank_nodes.commands.options import out
from bank_nodes.gate.kept_receipts import RECEIPTS_FILE, KeptReceipts, compare
from bank_nodes.gate.release import Gate
from bank_nodes.gate.restoring import carry_out, repair_from_receipts
from bank_nodes.rules.approvals import Approvals
from fraudfl.errors import PrivacyError, ReleaseRefused, TrustError
from fraudfl.folder import BankFolder
from fraudfl.privacy.accounting import epsilon
from fraudfl.privacy.ledger import Ledger, Release
from fraudfl.privacy.mechanisms import mechanism_from_dict
from fraudfl.protocols import Reply, Request
from fraudfl.trust.keys import new_key, public_text
from fraudfl.trust.receipts import shorten, sign_receipt

OPERATOR = new_key()
PLAN = plan_of(**PRIVATE)
Node = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Node:
    monkeypatch.setattr(out, "width", 240)
    monkeypatch.delenv("FRAUDFL_DEBUG", raising=False)

    def call(*words: str | Path | int) -> Said:
        monkeypatch.setattr(sys, "argv", ["bank-node", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_bank(tmp_path_factory.mktemp("made") / "bank-01").path
    (path / "operator.pub").write_text(public_text(OPERATOR) + "\n")
    Gate(BankFolder(path)).join(asking(PLAN, "join"))
    return path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A bank that trusts its operator and has taken one private plan."""
    return shutil.copytree(made, tmp_path / "bank-01")


def train(folder: Path, number: int, **facts: object) -> Reply:
    return Gate(BankFolder(folder)).answer(train_request(number, **facts), lambda plan: draft_of(plan, "train"))


def train_request(number: int, **facts: object) -> Request:
    return asking(PLAN, round=number, **facts)


def receipt(reply: Reply) -> bytes:
    return sign_receipt(OPERATOR, reply).to_bytes()


def seen(reply: Reply) -> dict[str, Any]:
    """What a coordinator says with a receipt: the release that it is for."""
    return {"seen": reply.entry, "seen_hash": reply.entry_hash}


def handed_out(path: Path, *replies: Reply) -> Path:
    path.write_bytes(b"".join(receipt(reply) + b"\n" for reply in replies))
    return path


def ledger_of(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.db")


def back_to(folder: Path, backup: bytes) -> None:
    for path in folder.glob("ledger.db*"):
        path.unlink()
    (folder / "ledger.db").write_bytes(backup)


def spent(folder: Path) -> float:
    return epsilon([mechanism_from_dict(facts) for facts in ledger_of(folder).mechanisms(PLAN.hash)], PLAN.delta)


# Receipts at the bank.


def test_a_receipt_that_comes_with_a_request_is_kept_once_and_verified_against(folder: Path, node: Node) -> None:
    first = train(folder, 1)
    signed = receipt(first)
    for attempt in (1, 2):
        train(folder, 2, attempt=attempt, payloads={"receipt": shorten(signed)}, **seen(first))
    assert [one.to_bytes() for one in KeptReceipts(folder).all()] == [signed]
    said = node("ledger", "verify", folder)
    assert said.code == 0
    assert said.out.endswith(f"\n1 receipts by the operator fit, the newest for entry {first.entry}\n")


def test_a_receipt_by_another_key_is_not_kept_and_the_release_goes_on(folder: Path) -> None:
    first = train(folder, 1)
    forged = sign_receipt(new_key(), first).to_bytes()
    assert train(folder, 2, payloads={"receipt": shorten(forged)}, **seen(first)).entry > first.entry
    assert train(folder, 3, payloads={"receipt": b"neither"}, **seen(first)).entry > first.entry
    assert not (folder / RECEIPTS_FILE).exists()
    (folder / "operator.pub").unlink()
    with pytest.raises(TrustError, match=r"operator\.pub: cannot be read .*bank-node join"):
        KeptReceipts(folder).take(receipt(first))


def test_kept_receipts_stay_few_and_a_line_cut_off_by_a_crash_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bank_nodes.gate.kept_receipts._KEPT", 3)
    monkeypatch.setattr("bank_nodes.gate.kept_receipts._LARGEST", 6000)
    reply, kept = train(folder, 1), KeptReceipts(folder)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for day in range(30):
        kept.take(sign_receipt(OPERATOR, reply, start + timedelta(days=day)).to_bytes())
        assert (folder / RECEIPTS_FILE).stat().st_size < 8000
    assert list(kept.all())[-1].issued == "2025-01-30T00:00:00+00:00"
    whole = (folder / RECEIPTS_FILE).read_bytes()
    (folder / RECEIPTS_FILE).write_bytes(whole[:-20])
    cut = list(kept.all())
    kept.take(receipt(reply))
    assert len(list(kept.all())) == len(cut) + 1


def test_a_tail_that_was_cut_off_is_found_by_its_receipt_alone(folder: Path, node: Node) -> None:
    train(folder, 1)
    backup = (folder / "ledger.db").read_bytes()
    last = train(folder, 2)
    KeptReceipts(folder).take(receipt(last))
    assert node("ledger", "verify", folder).code == 0
    back_to(folder, backup)
    said = node("ledger", "verify", folder)
    assert said.code == 1
    assert f"the operator signed for entry {last.entry}" in said.err
    assert "its end was cut off" in said.err
    ledger_of(folder).verify()


def test_a_tail_that_was_written_anew_is_found_too(folder: Path, tmp_path: Path, node: Node) -> None:
    backup = (folder / "ledger.db").read_bytes()
    file = handed_out(tmp_path / "receipts", train(folder, 1))
    back_to(folder, backup)
    train(folder, 2)
    said = node("ledger", "verify", folder, "--receipts", file)
    assert (said.code, "written anew" in said.err) == (1, True)


# Repairs.


def test_a_backup_is_mended_from_receipts_and_the_phase_goes_on(folder: Path, tmp_path: Path, node: Node) -> None:
    first = train(folder, 1)
    (folder / "secagg").mkdir()
    (folder / "secagg" / "phase.key").write_text("a secret")
    backup = (folder / "ledger.db").read_bytes()
    second = train(folder, 2)
    file = handed_out(tmp_path / "receipts", first, second)
    back_to(folder, backup)
    seen = {"seen": second.entry, "seen_hash": second.entry_hash}
    with pytest.raises(ReleaseRefused, match="restored from an older copy"):
        train(folder, 3, **seen)
    before = spent(folder)
    said = node("ledger", "restore", folder, "--receipts", file, "--by", "Ada", "--yes")
    assert (said.code, said.err) == (0, "")
    assert f"1 releases are put back from receipts, {PLAN.attempts} are charged unseen" in said.out
    assert not (folder / "secagg").exists()
    ledger = ledger_of(folder)
    assert not ledger.behind(second.entry, second.entry_hash)
    put_back = next(entry for entry in ledger.entries() if entry.key == second.key)
    assert (put_back.event, put_back.mechanism, put_back.round) == ("restored", PLAN.round_mechanism.to_dict(), 2)
    assert len(ledger.mechanisms(PLAN.hash)) == 2 + PLAN.attempts
    assert spent(folder) > before
    assert node("ledger", "verify", folder, "--receipts", file).out.endswith(
        "1 are about releases that a restoration wrote off\n"
    )
    standing = Approvals(folder).standing(PLAN.hash)
    assert standing is not None
    assert standing.decision == "approve"


def test_what_a_receipt_names_never_leaves_again_with_other_noise(folder: Path, tmp_path: Path) -> None:
    backup = (folder / "ledger.db").read_bytes()
    reply = train(folder, 1)
    back_to(folder, backup)
    kept = KeptReceipts(folder).read(handed_out(tmp_path / "receipts", reply))
    carry_out(folder, repair_from_receipts(folder, kept), "Ada")
    with pytest.raises(ReleaseRefused, match="a second value never leaves under it"):
        ledger_of(folder).reserve(
            Release(key=reply.key, plan_hash=PLAN.hash, instance="i", phase="pilot", round=1, attempt=1, kind="train")
        )


def test_numbers_that_no_receipt_explains_are_charged_as_the_most_expensive_release(
    folder: Path, tmp_path: Path
) -> None:
    backup = (folder / "ledger.db").read_bytes()
    lost = [train(folder, 1), train(folder, 2), train(folder, 3)]
    back_to(folder, backup)
    kept = KeptReceipts(folder).read(handed_out(tmp_path / "receipts", lost[2]))
    repair = repair_from_receipts(folder, kept)
    # Four numbers, two reservations and two releases, are explained by nothing.
    assert (repair.explained, len(repair.releases)) == (1, 1 + 4 + PLAN.attempts)
    assert all(release.mechanism == PLAN.round_mechanism.to_dict() for release in repair.releases)
    carry_out(folder, repair, "Ada")
    assert len(ledger_of(folder).mechanisms(PLAN.hash)) >= 3


def test_a_copy_that_was_written_on_is_mended_too(folder: Path, tmp_path: Path) -> None:
    backup = (folder / "ledger.db").read_bytes()
    lost = train(folder, 1)
    back_to(folder, backup)
    for number in range(8):
        ledger_of(folder).note(f"written on, {number}")
    assert ledger_of(folder).behind(lost.entry, lost.entry_hash)
    kept = KeptReceipts(folder).read(handed_out(tmp_path / "receipts", lost))
    carry_out(folder, repair_from_receipts(folder, kept), "Ada")
    ledger = ledger_of(folder)
    assert not ledger.behind(lost.entry, lost.entry_hash)
    assert compare(ledger, kept).forgotten == 1
    ledger.verify()


def test_receipts_that_fit_or_name_an_unknown_plan_mend_nothing(folder: Path, tmp_path: Path, node: Node) -> None:
    backup = (folder / "ledger.db").read_bytes()
    file = handed_out(tmp_path / "receipts", train(folder, 1))
    said = node("ledger", "restore", folder, "--receipts", file, "--by", "Ada", "--yes")
    assert (said.code, "all 1 receipts fit the ledger" in said.err) == (1, True)
    back_to(folder, backup)
    for path in (folder / "plans").glob("*.json"):
        path.unlink()
    said = node("ledger", "restore", folder, "--receipts", file, "--by", "Ada", "--yes")
    assert (said.code, "Copy `plans/` from the broken folder" in said.err) == (1, True)
    with pytest.raises(PrivacyError, match="is not in `plans/`"):
        repair_from_receipts(folder, KeptReceipts(folder).read(file))


def test_mending_at_the_cap_discards_secrets_for_masks_and_charges_before_it_closes(folder: Path, node: Node) -> None:
    (folder / "secagg").mkdir()
    backup = (folder / "ledger.db").read_bytes()
    seen = train(folder, 1).entry
    back_to(folder, backup)
    said = node("restore", folder, "--seen", seen, "--by", "Ada", "--yes")
    assert said.code == 0
    assert not (folder / "secagg").exists()
    assert len(ledger_of(folder).mechanisms(PLAN.hash)) == PLAN.rounds + PLAN.privacy.spare_attempts
    standing = Approvals(folder).standing(PLAN.hash)
    assert standing is not None
    assert standing.decision == "revoke"


# Showing.


def test_show_lists_entries_and_totals_with_delta_and_unit(folder: Path, node: Node) -> None:
    train(folder, 1)
    said = node("ledger", "show", folder)
    assert said.code == 0
    for text in (
        "reserved",
        "train 1.1",
        "3 of DP-SGD, q 0.05",
        f"phase pilot ({PLAN.hash[:8]})",
        "this month",
        "in all",
    ):
        assert text in said.out
    assert f"{spent(folder):.4f}" in said.out
    assert "1e-06" in said.out
    assert "transaction" in said.out


def test_filters_choose_entries_and_leave_the_totals(folder: Path, node: Node) -> None:
    train(folder, 1)
    whole = json.loads(node("ledger", "show", folder, "--json").out)
    trained = json.loads(node("ledger", "show", folder, "--kind", "train", "--json").out)
    assert [entry["event"] for entry in trained["entries"]] == ["reserved", "released"]
    assert trained["totals"] == whole["totals"]
    assert [said["name"] for said in whole["totals"]] == [f"phase pilot ({PLAN.hash[:8]})", "this month", "in all"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    for words in (("--plan", "ffff"), ("--since", tomorrow)):
        assert json.loads(node("ledger", "show", folder, *words, "--json").out)["entries"] == []
    by_plan = json.loads(node("ledger", "show", folder, "--plan", PLAN.hash[:6], "--last", "2", "--json").out)
    assert [entry["event"] for entry in by_plan["entries"]] == ["reserved", "released"]
    assert node("ledger", "show", folder, "--since", "yesterday").code == 2


def test_an_empty_ledger_is_shown(tmp_path: Path, made: Path, node: Node) -> None:
    folder = shutil.copytree(made, tmp_path / "fresh")
    (folder / "ledger.db").unlink()
    assert node("ledger", "show", folder).code == 0


def test_a_bank_whose_ledger_forgot_what_the_operator_signed_for_releases_nothing_though_the_coordinator_is_silent(
    folder: Path,
) -> None:
    backup = (folder / "ledger.db").read_bytes()
    reply = train(folder, 1)
    KeptReceipts(folder).take(receipt(reply))
    assert train(folder, 2).entry > reply.entry
    back_to(folder, backup)
    with pytest.raises(ReleaseRefused, match=f"lacks entry {reply.entry}, which the operator has signed for"):
        train(folder, 1)
    assert not ledger_of(folder).mechanisms()
