"""Approvals: what stands, who may decide what, and that no edited file ever says yes."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_fleet import PRIVATE, tiny_config

from bank_nodes.gate.release import Gate
from bank_nodes.rules.approvals import BY_RULE, Approvals, explain, offered
from fraudfl.data.simulate import GENERATED_CONTRACT, generate
from fraudfl.errors import ConfigError, NotApproved, PlanError, SourceError, TrustError
from fraudfl.folder import BankFolder
from fraudfl.plan import Plan, ReleaseRule
from fraudfl.planning import make_plan
from fraudfl.protocols import Request
from fraudfl.trust.keys import make_key, public_text

POLICY = "uncovered: [encoder sketches, score histograms, what windows carry into other rows]\n"


def plan_of(**phase: Any) -> Plan:
    config = tiny_config({**PRIVATE, **phase})
    return make_plan(config, config.phases[0], GENERATED_CONTRACT)


FIRST, SECOND = plan_of(), plan_of(rounds=2)


def bank(path: Path, name: str = "bank-01") -> Path:
    rows = generate(tiny_config().data.generator.model_copy(update={"transactions": 1000}), 1)
    BankFolder.create(path, name, rows, GENERATED_CONTRACT)
    (path / "keys").mkdir()
    (path / "keys" / "bank.pub").write_text(public_text(make_key(path / "keys" / "bank.key")) + "\n")
    (path / "policy.yaml").write_text(POLICY)
    for plan in (FIRST, SECOND):
        offer(path, plan)
    return path


def offer(folder: Path, plan: Plan) -> None:
    """As the gate keeps it when the coordinator offers it."""
    (folder / "plans").mkdir(exist_ok=True)
    (folder / "plans" / f"{plan.hash}.json").write_bytes(plan.canonical_json())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bank(tmp_path / "bank-01")


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that approved, revoked and approved again; read only."""
    folder = bank(tmp_path_factory.mktemp("decided") / "bank-01")
    approvals = Approvals(folder)
    approvals.decide(FIRST, "approve", "ann")
    approvals.decide(SECOND, "reject", "bob", "too few rounds")
    approvals.decide(FIRST, "revoke", "bob", "ε is spent")
    return folder


def lines(folder: Path) -> list[bytes]:
    return (folder / "approvals.jsonl").read_bytes().splitlines(keepends=True)


def test_before_any_decision_nothing_stands(folder: Path) -> None:
    assert (Approvals(folder).standing(FIRST.hash), Approvals(folder).all()) == (None, ())


def test_the_last_decision_about_a_plan_stands(decided: Path) -> None:
    found = Approvals(decided)
    first, second = found.standing(FIRST.hash), found.standing(SECOND.hash)
    assert first is not None
    assert second is not None
    assert (first.decision, first.by, first.reason, first.bank) == ("revoke", "bob", "ε is spent", "bank-01")
    assert (second.decision, second.reason) == ("reject", "too few rounds")
    assert [decision.decision for decision in found.all()] == ["approve", "reject", "revoke"]
    assert datetime.now(UTC) - datetime.fromisoformat(first.at) < timedelta(minutes=10)


def test_an_approval_after_a_revocation_is_a_new_decision(folder: Path) -> None:
    approvals = Approvals(folder)
    for decision in ("approve", "revoke", "approve"):
        approvals.decide(FIRST, decision, "ann")
    standing = approvals.standing(FIRST.hash)
    assert standing is not None
    assert (standing.decision, len(lines(folder))) == ("approve", 3)


def test_a_line_can_be_checked_with_nothing_of_ours(decided: Path) -> None:
    public = serialization.load_ssh_public_key((decided / "keys" / "bank.pub").read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    previous = "0" * 64
    for line in lines(decided):
        facts = json.loads(line)
        assert facts["previous"] == previous
        signature = base64.b64decode(facts.pop("signature"))
        signed = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
        public.verify(signature, b"fraudfl/approval\0" + signed, ec.ECDSA(hashes.SHA384()))
        previous = hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def test_the_file_is_the_banks_own(folder: Path) -> None:
    Approvals(folder).decide(FIRST, "approve", "ann")
    assert (folder / "approvals.jsonl").stat().st_mode & 0o777 == 0o600


def copy_of(decided: Path, target: Path, data: bytes) -> Approvals:
    target.mkdir(exist_ok=True)
    (target / "keys").mkdir(exist_ok=True)
    for name in ("bank.json", "keys/bank.pub"):
        (target / name).write_bytes((decided / name).read_bytes())
    (target / "approvals.jsonl").write_bytes(data)
    return Approvals(target)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_changed_byte_anywhere_is_an_error_that_names_the_line(decided: Path, tmp_path: Path, data: Any) -> None:
    text = bytearray(b"".join(lines(decided)))
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TrustError, match=r"approvals\.jsonl, line [1-4]: .*No plan counts as approved"):
        copy_of(decided, tmp_path / "changed", bytes(text)).standing(SECOND.hash)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_line_that_is_cut_off_is_an_error(decided: Path, tmp_path: Path, data: Any) -> None:
    whole = lines(decided)
    kept = data.draw(st.integers(1, len(whole[2]) - 1))
    with pytest.raises(TrustError, match=r"line 3: the line is cut off"):
        copy_of(decided, tmp_path / "cut", b"".join(whole[:2]) + whole[2][:kept]).all()


@pytest.mark.parametrize(
    ("order", "line"), [([1, 2], 1), ([0, 2], 2), ([1, 0, 2], 1), ([0, 1, 2, 0], 4), ([0, 0], 2), ([0, 2, 1], 2)]
)
def test_lines_taken_out_moved_or_used_again_are_an_error(
    decided: Path, tmp_path: Path, order: list[int], line: int
) -> None:
    whole = lines(decided)
    with pytest.raises(TrustError, match=rf"line {line}: it does not follow the line before"):
        copy_of(decided, tmp_path / "moved", b"".join(whole[number] for number in order)).standing(FIRST.hash)


def test_another_spelling_of_the_same_decision_is_an_error(decided: Path, tmp_path: Path) -> None:
    spaced = json.dumps(json.loads(lines(decided)[0])).encode() + b"\n"
    with pytest.raises(TrustError, match="line 1: the line was edited or reformatted"):
        copy_of(decided, tmp_path / "spaced", spaced).all()


@pytest.mark.parametrize("junk", [b"\n", b"{}\n", b"[]\n", b"not json\n", b"\xff\n", b"null\n"])
def test_a_line_that_is_no_decision_is_an_error(decided: Path, tmp_path: Path, junk: bytes) -> None:
    with pytest.raises(TrustError, match=r"line 4: "):
        copy_of(decided, tmp_path / "junk", b"".join(lines(decided)) + junk).all()


def test_another_banks_decisions_are_an_error(decided: Path, tmp_path: Path) -> None:
    other = bank(tmp_path / "bank-02", "bank-02")
    (other / "approvals.jsonl").write_bytes(b"".join(lines(decided)))
    with pytest.raises(TrustError, match="line 1: found a decision of bank 'bank-01'; expected 'bank-02'"):
        Approvals(other).standing(FIRST.hash)


def test_decisions_signed_by_another_key_are_an_error(folder: Path, tmp_path: Path) -> None:
    Approvals(folder).decide(FIRST, "approve", "ann")
    (folder / "keys" / "bank.pub").write_text(public_text(make_key(tmp_path / "other.key")))
    with pytest.raises(TrustError, match=r"line 1: .*signature is not by SHA256:"):
        Approvals(folder).standing(FIRST.hash)


def test_after_an_error_nothing_more_is_decided(folder: Path) -> None:
    Approvals(folder).decide(FIRST, "approve", "ann")
    path = folder / "approvals.jsonl"
    broken = path.read_bytes().replace(b'"ann"', b'"bob"')
    path.write_bytes(broken)
    with pytest.raises(TrustError, match="line 1"):
        Approvals(folder).decide(SECOND, "approve", "ann")
    assert path.read_bytes() == broken


def test_a_file_that_cannot_be_read_is_an_error_and_no_absence(folder: Path) -> None:
    (folder / "approvals.jsonl").mkdir()
    with pytest.raises(TrustError, match="no plan counts as approved"):
        Approvals(folder).standing(FIRST.hash)


def test_a_plan_that_was_never_offered_cannot_be_decided_on(folder: Path) -> None:
    with pytest.raises(PlanError, match="was not offered to this bank"):
        Approvals(folder).decide(FIRST.model_copy(update={"rounds": 9}), "approve", "ann")


def test_a_kept_plan_that_was_changed_cannot_be_decided_on(folder: Path) -> None:
    (folder / "plans" / f"{FIRST.hash}.json").write_bytes(SECOND.canonical_json())
    with pytest.raises(PlanError, match="was changed"):
        Approvals(folder).decide(FIRST, "approve", "ann")


def test_only_signers_approve_and_anybody_says_no(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY + "signers: [ann, eve]\n")
    approvals = Approvals(folder)
    with pytest.raises(NotApproved, match="'bob' is not among `signers`"):
        approvals.decide(FIRST, "approve", "bob")
    approvals.decide(FIRST, "approve", "eve")
    assert approvals.decide(FIRST, "revoke", "bob").by == "bob"
    assert approvals.decide(SECOND, "reject", "bob").by == "bob"


def test_nobody_can_approve_what_the_policy_does_not_let_out(folder: Path) -> None:
    (folder / "policy.yaml").write_text("uncovered: [encoder sketches]\n")
    with pytest.raises(NotApproved, match="'score histograms' would be released without privacy"):
        Approvals(folder).decide(FIRST, "approve", "ann")
    assert Approvals(folder).decide(FIRST, "reject", "ann").decision == "reject"


def test_a_policy_with_a_mistake_lets_nobody_approve(folder: Path) -> None:
    (folder / "policy.yaml").write_text("uncoverd: ['*']\n")
    with pytest.raises(ConfigError, match="uncoverd"):
        Approvals(folder).decide(FIRST, "approve", "ann")


def test_only_what_is_approved_is_revoked_and_only_what_is_not_is_rejected(folder: Path) -> None:
    approvals = Approvals(folder)
    with pytest.raises(PlanError, match="not approved here, so there is nothing to revoke"):
        approvals.decide(FIRST, "revoke", "ann")
    approvals.decide(FIRST, "approve", "ann")
    with pytest.raises(PlanError, match=r"cannot be rejected\. Revoke it instead"):
        approvals.decide(FIRST, "reject", "bob")
    approvals.decide(FIRST, "revoke", "bob")
    approvals.decide(FIRST, "reject", "bob")
    with pytest.raises(PlanError, match="nothing to revoke"):
        approvals.decide(FIRST, "revoke", "ann")
    assert [decision.decision for decision in approvals.all()] == ["approve", "revoke", "reject"]


@pytest.mark.parametrize("decision", ["approve", "revoke", "reject"])
def test_the_same_decision_again_is_the_one_that_stands(folder: Path, decision: Any) -> None:
    approvals = Approvals(folder)
    if decision == "revoke":
        approvals.decide(FIRST, "approve", "ann")
    made = approvals.decide(FIRST, decision, "ann")
    size = (folder / "approvals.jsonl").stat().st_size
    assert approvals.decide(FIRST, decision, "bob") == made
    assert (folder / "approvals.jsonl").stat().st_size == size


RULES = POLICY + "approve: {automatic: true, max_epsilon: 4}\nsigners: [ann]\n"


def test_a_rule_approves_only_what_the_rules_approve(folder: Path) -> None:
    (folder / "policy.yaml").write_text(RULES.replace("4", "3"))
    with pytest.raises(NotApproved, match=r"ε is 4; approve\.max_epsilon is 3"):
        Approvals(folder).decide(FIRST, "approve", BY_RULE)
    (folder / "policy.yaml").write_text(RULES)
    assert Approvals(folder).decide(FIRST, "approve", BY_RULE).by == "policy"


@pytest.mark.parametrize("no", ["reject", "revoke"])
def test_no_rule_overrides_a_persons_no(folder: Path, no: Any) -> None:
    (folder / "policy.yaml").write_text(RULES)
    approvals = Approvals(folder)
    if no == "revoke":
        approvals.decide(FIRST, "approve", BY_RULE)
    approvals.decide(FIRST, no, "bob")
    with pytest.raises(NotApproved, match=f"found '{no}' by bob at .*; no rule overrides that"):
        approvals.decide(FIRST, "approve", BY_RULE)
    assert approvals.decide(FIRST, "approve", "ann").by == "ann"


def test_a_person_who_confirms_a_rules_approval_is_written_down(folder: Path) -> None:
    (folder / "policy.yaml").write_text(RULES)
    approvals = Approvals(folder)
    approvals.decide(FIRST, "approve", BY_RULE)
    approvals.decide(FIRST, "approve", "ann")
    approvals.decide(FIRST, "approve", BY_RULE)
    assert [decision.by for decision in approvals.all()] == [BY_RULE, "ann"]


@pytest.mark.parametrize(
    ("by", "reason"), [("", ""), ("ann\nbob", ""), ("\x1b[2Jann", ""), ("ann", "a\r"), ("a", "\n")]
)
def test_names_and_reasons_are_one_line_of_plain_text(folder: Path, by: str, reason: str) -> None:
    with pytest.raises(PlanError, match=r"the decision cannot be taken: (by|reason): found"):
        Approvals(folder).decide(FIRST, "approve", by, reason)
    assert Approvals(folder).all() == ()


def test_a_key_that_others_can_read_signs_nothing(folder: Path) -> None:
    (folder / "keys" / "bank.key").chmod(0o644)
    with pytest.raises(TrustError, match="0600"):
        Approvals(folder).decide(FIRST, "approve", "ann")
    assert Approvals(folder).all() == ()


def test_a_key_that_does_not_fit_the_public_one_writes_no_line(folder: Path) -> None:
    (folder / "keys" / "bank.key").unlink()
    make_key(folder / "keys" / "bank.key")
    with pytest.raises(TrustError, match="signature is not by"):
        Approvals(folder).decide(FIRST, "approve", "ann")
    assert Approvals(folder).all() == ()


def test_a_folder_that_is_no_banks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a bank's folder"):
        Approvals(tmp_path)


DECIDE = """
import resource, sys
from pathlib import Path
from bank_nodes.rules.approvals import Approvals, offered
folder, which, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
plan = offered(folder)[which]
print("ready", flush=True)
sys.stdin.readline()
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for _ in range(10):
    for decision in ("approve", "revoke"):
        try:
            Approvals(folder).decide(plan, decision, "ann")
        except Exception as error:
            sys.exit(f"{type(error).__name__}: {error}")
"""


def deciding(folder: Path, which: int, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DECIDE, str(folder), str(which), str(limit)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def set_off(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Let them all go once all are ready; returns what they complained of."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[1] for process in processes]


def test_two_processes_that_decide_at_once_leave_one_chain(folder: Path) -> None:
    assert set_off([deciding(folder, which) for which in (0, 1)]) == ["", ""]
    found = Approvals(folder).all()
    for plan in (FIRST, SECOND):
        verdicts = [decision.decision for decision in found if decision.plan_hash == plan.hash]
        assert verdicts == ["approve", "revoke"] * 10


def test_a_decision_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(folder: Path) -> None:
    Approvals(folder).decide(SECOND, "reject", "ann")
    before = (folder / "approvals.jsonl").read_bytes()
    (said,) = set_off([deciding(folder, 0, limit=len(before) + 100)])
    assert "cannot be written" in said
    assert "nothing was decided" in said
    assert (folder / "approvals.jsonl").read_bytes() == before


def test_the_plans_that_were_offered_are_listed_in_the_order_of_their_coming(folder: Path) -> None:
    third = FIRST.model_copy(update={"rounds": 5})
    cohort = hashlib.sha256(b"all").hexdigest()
    payloads = {"plan": third.canonical_json()}
    request = Request(
        kind="join", plan_hash=third.hash, instance="a", round=0, attempt=1, cohort=cohort, payloads=payloads
    )
    with pytest.raises(NotApproved):
        Gate(BankFolder(folder)).join(request)
    assert offered(folder) == [FIRST, SECOND, third]


def test_a_bank_without_offers_has_none(tmp_path: Path) -> None:
    assert offered(tmp_path) == []


@pytest.mark.parametrize("text", [b"", b"{}", SECOND.canonical_json()])
def test_an_offered_plan_that_was_changed_is_named(folder: Path, text: bytes) -> None:
    (folder / "plans" / f"{FIRST.hash}.json").write_bytes(text)
    with pytest.raises(PlanError, match=f"plans/{FIRST.hash}.json"):
        offered(folder)


def test_a_private_plan_is_explained_with_what_it_costs_and_what_it_leaves_open() -> None:
    said = "\n".join(explain(FIRST))
    noise = f"{FIRST.noise_multiplier:.4g}"
    for part in (
        FIRST.hash,
        "pilot (pilot) of consortium tiny: 3 rounds, each tried at most 3 times",
        "a neural network (8 hidden units)",
        "combines updates by fedavg",
        "account_count_7d",
        "currency",
        "releases model updates: paid for by ε",
        "releases encoder sketches: NOT covered by any privacy",
        "releases score histograms: NOT covered by any privacy",
        "ε = 4 at δ = 1e-06 for the phase, for one transaction",
        f"Noise multiplier {noise} at clip norm 1, 3 steps a round at sampling rate 0.05",
        "the coordinator sees this bank's own update",
    ):
        assert part in said
    assert "trained on this bank's rows alone" not in said


def test_a_plan_without_privacy_is_explained_as_promising_nothing() -> None:
    config = tiny_config({"strategy": {"name": "krum"}})
    said = explain(make_plan(config, config.phases[0], GENERATED_CONTRACT))
    released = [line for line in said if " releases " in line]
    assert any("nothing is promised" in line for line in said)
    assert len(released) == 8
    assert all("NOT covered" in line for line in released)
    assert any("trained on this bank's rows alone" in line for line in said)


def test_an_explanation_takes_no_claim_of_the_plan_for_granted_and_hides_nothing() -> None:
    forged = FIRST.model_copy(
        update={
            "consortium": "tiny\x1b[8m\r",
            "releases": {"sketch": (ReleaseRule(content="encoder sketches", covered=True),)},
            "features": FIRST.features.model_copy(update={"exclude": ("nonsense",)}),
        }
    )
    said = "\n".join(explain(forged))
    assert "releases encoder sketches: NOT covered" in said
    assert "tiny\\u001b[8m\\u000d" in said
    assert "Its features are IMPOSSIBLE" in said
