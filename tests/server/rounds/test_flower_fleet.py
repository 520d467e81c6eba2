"""The fleet over Flower's own state: who is there, what is sent again after a connection broke, and what comes late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from flower_town import BANKS, DATA, DEADLINE, OPEN, BankNode, Town, public_keys, reply_of
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from memory_fleet import asking

from fraudfl.errors import FraudflError, RoundError
from fraudfl.protocols import Refusal, Request
from fraudfl.wire import WIRE_VERSION, refusal_to_record
from server.deployment.link import Link
from server.rounds import flower_fleet
from server.rounds.flower_fleet import FlowerFleet, Presence

# Flower's own migrations, with its own Alembic configuration.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found in configuration")


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Link:
    return Link(str(tmp_path_factory.mktemp("link") / "flower.db"))


@pytest.fixture
def town(link: Link, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setattr(flower_fleet, "LOOK_SECONDS", 0.0)
    keys = public_keys()
    nodes = {bank: BankNode(link, bank, node) for bank, node in link.admit(keys).items()}
    for node in nodes.values():
        node.connect()
    with link.run() as grid:
        town = Town(link, grid, nodes, keys)
        monkeypatch.setattr(flower_fleet, "time", town)
        yield town


def never(_bank: str, _request: Request) -> RecordDict | None:
    return None


class Watched:
    """A grid that remembers how many messages were under way at most."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.open, self.most = grid, set[str](), 0

    def push_messages(self, messages: list[Message]) -> list[str]:
        names = list(self.grid.push_messages(messages))
        self.open |= set(names)
        self.most = max(self.most, len(self.open))
        return names

    def pull_messages(self, names: list[str]) -> list[Message]:
        replies = list(self.grid.pull_messages(names))
        self.open -= {reply.metadata.reply_to_message_id for reply in replies}
        return replies


def nothing() -> None:
    """Nobody does anything; the banks work."""


def later(after: int) -> Callable[[str, Request], RecordDict | None]:
    """Answer when one was asked for it so many times."""
    left = [after]

    def says(bank: str, request: Request) -> RecordDict | None:
        left[0] -= 1
        return None if left[0] >= 0 else reply_of(bank, request)

    return says


def test_every_bank_gets_its_request_and_its_reply_comes_back_whole(town: Town) -> None:
    answers = town.ask(town.fleet(), round=2, seen=7, seen_hash="ab" * 32)
    for bank, node in town.nodes.items():
        assert node.got == [asking(OPEN, round=2, seen=7, seen_hash="ab" * 32)]
        reply = answers[bank].reply
        assert reply is not None
        assert (reply.bank, reply.key, reply.entry) == (bank, node.got[0].key, 3)
        assert reply.payloads == {"update": DATA}


def test_the_bytes_of_an_answer_are_those_of_both_messages(town: Town) -> None:
    answer = town.ask(town.fleet(), "bank-02")["bank-02"]
    (size,) = town.nodes["bank-02"].sizes
    assert answer.bytes_up == size
    plain = town.ask(town.fleet(), "bank-02", round=2, payloads={"model": DATA})["bank-02"]
    assert 200 < plain.bytes_down - answer.bytes_down < len(DATA)  # compressed on the way


def test_banks_are_answered_for_as_they_come_and_not_in_order(town: Town) -> None:
    town.nodes["bank-01"].says = later(3)
    answers = town.fleet().ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=DEADLINE)
    assert [answer.bank for answer in answers][-1] == "bank-01"


def test_a_bank_that_is_not_connected_is_away_at_once_and_nothing_is_sent_to_it(town: Town) -> None:
    town.nodes["bank-02"].leave()
    answers = town.fleet().ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=DEADLINE)
    away = next(answers)
    assert (away.bank, away.reply, away.code, away.reason) == ("bank-02", None, "away", "not connected")
    assert (away.bytes_down, away.bytes_up) == (0, 0)
    assert {answer.bank for answer in answers if answer.reply} == {"bank-01", "bank-03"}
    town.nodes["bank-02"].connect()
    town.nodes["bank-02"].work()
    assert town.nodes["bank-02"].got == []


def test_a_bank_that_leaves_while_it_works_is_away(town: Town) -> None:
    town.nodes["bank-02"].says = never
    town.steps = [nothing, town.nodes["bank-02"].leave]
    answers = town.ask(town.fleet())
    assert (answers["bank-02"].reply, answers["bank-02"].code) == (None, "away")
    assert answers["bank-01"].reply is not None


def test_a_bank_that_connected_anew_is_asked_the_same_again(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = later(2)
    town.steps = [nothing, node.restart]
    answers = town.ask(town.fleet())
    assert answers["bank-02"].reply is not None
    assert len(node.got) == 2
    assert node.got[0] == node.got[1]
    assert [len(other.got) for other in town.nodes.values() if other is not node] == [1, 1]


def test_a_bank_that_only_works_long_is_asked_once(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = later(10)
    town.steps = [lambda: town.link.state.acknowledge_node_heartbeat(node.node, 30)] * 8
    assert town.ask(town.fleet())["bank-02"].reply is not None
    assert len(node.got) == 1


def test_a_question_that_flower_lost_is_asked_again(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = later(2)
    lost: list[str] = []

    def lose() -> None:
        lost.extend(message.metadata.message_id for message in node.working)
        town.link.state.delete_messages(set(lost))
        node.working.clear()

    town.steps = [nothing, lose]
    assert town.ask(town.fleet())["bank-02"].reply is not None
    assert len(lost) == 1
    assert node.got == [asking(OPEN)] * 2


def test_banks_removed_from_the_roster_in_the_midst_of_a_question_are_each_answered_for(town: Town) -> None:
    for bank in ("bank-02", "bank-03"):
        town.nodes[bank].says = never
    town.steps = [nothing, lambda: town.link.admit({"bank-01": town.keys["bank-01"]})]
    answers = town.ask(town.fleet())
    assert {bank: answers[bank].code for bank in ("bank-02", "bank-03")} == dict.fromkeys(
        ("bank-02", "bank-03"), "away"
    )
    assert answers["bank-01"].reply is not None


def test_banks_that_flower_does_not_know_are_away_even_where_presence_says_otherwise(town: Town) -> None:
    ids = {"bank-01": town.nodes["bank-01"].node, "bank-02": 12345, "bank-03": 54321}
    there = dict.fromkeys(ids.values(), datetime.now(UTC).isoformat())
    fleet = FlowerFleet(town.grid, ids, presence=Presence(lambda: there, town.wait))
    answers = town.ask(fleet)
    assert {bank: answer.code for bank, answer in answers.items() if not answer.reply} == dict.fromkeys(
        ("bank-02", "bank-03"), "away"
    )


def test_a_bank_that_says_nothing_by_the_deadline_is_silent_and_its_bytes_are_counted(town: Town) -> None:
    town.nodes["bank-02"].says = never
    town.steps = [nothing, town.pass_deadline]
    answers = town.ask(town.fleet())
    silent = answers["bank-02"]
    assert (silent.reply, silent.code, silent.reason) == (None, "silent", "no answer within 60 s")
    assert answers["bank-01"].reply is not None
    # The same question, but for the node's number, whose length varies.
    assert abs(silent.bytes_down - answers["bank-01"].bytes_down) <= 2
    assert silent.bytes_up == 0


def test_an_answer_after_the_deadline_is_late_once_with_its_question(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = never
    fleet = town.fleet()
    assert list(fleet.late()) == []
    town.steps = [nothing, town.pass_deadline]
    town.ask(fleet)
    assert list(fleet.late()) == []
    node.says = reply_of
    node.work()
    ((request, answer),) = fleet.late()
    assert request == asking(OPEN)
    assert answer.reply is not None
    assert (answer.bank, answer.reply.key) == ("bank-02", request.key)
    assert (answer.bytes_down, answer.bytes_up) == (0, node.sizes[-1])
    assert list(fleet.late()) == []


def test_a_late_answer_does_not_pass_for_one_to_the_next_question(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = never
    fleet = town.fleet()
    town.steps = [nothing, town.pass_deadline]
    town.ask(fleet, round=1)
    node.says = reply_of
    answers = town.ask(fleet, round=2)
    reply = answers["bank-02"].reply
    assert reply is not None
    assert reply.key == asking(OPEN, round=2).key
    ((request, answer),) = fleet.late()
    assert (request.round, answer.reply is not None) == (1, True)


def test_a_reply_on_its_way_at_the_deadline_disturbs_no_later_question_and_comes_late(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = never
    fleet = town.fleet()
    left: list[Callable[[], object]] = []

    def announce() -> None:
        asked = node.working.pop()
        left.extend(node.begin_to_send(asked, reply_of("bank-02", asking(OPEN))))

    town.steps = [nothing, announce, town.pass_deadline]
    assert town.ask(fleet, round=1)["bank-02"].code == "silent"
    assert len(left) > 0
    # All of it is here before the next question is answered.
    town.steps = list(left)
    town.nodes["bank-01"].says = later(len(left) + 1)
    answers = town.ask(fleet, "bank-01", "bank-03", round=2)
    assert [answer.reply is not None for answer in answers.values()] == [True, True]
    assert town.steps == []
    ((request, answer),) = fleet.late()
    assert (request.round, answer.bank) == (1, "bank-02")
    assert answer.reply is not None


def test_a_late_answer_of_a_bank_that_has_left_is_no_answer_and_no_error(town: Town) -> None:
    town.nodes["bank-02"].says = never
    fleet = town.fleet()
    town.steps = [nothing, town.pass_deadline]
    town.ask(fleet)
    town.nodes["bank-02"].leave()
    assert list(fleet.late()) == []


@pytest.mark.parametrize("code", ["refused", "not-approved", "not-now"])
def test_a_refusal_keeps_its_code_reason_and_time(town: Town, code: Any) -> None:
    refusal = Refusal(bank="bank-02", reason="not now, from 22:00 CET", code=code, opens_at="2025-01-15T22:00:00+01:00")
    town.nodes["bank-02"].says = lambda _bank, _request: refusal_to_record(refusal)
    answer = town.ask(town.fleet())["bank-02"]
    assert answer.reply is None
    assert (answer.reason, answer.code, answer.opens_at) == (refusal.reason, code, refusal.opens_at)
    assert answer.bytes_up == town.nodes["bank-02"].sizes[-1]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (RecordDict(), "expected one ConfigRecord"),
        (RecordDict({"fraudfl": ConfigRecord({"wire": 7})}), "wire version 7, expected 2"),
        (RecordDict({"fraudfl": ConfigRecord({"wire": WIRE_VERSION, "kind": "rows"})}), "field 'bank'"),
        (
            RecordDict({"fraudfl": ConfigRecord({"wire": WIRE_VERSION, "kind": "refusal", "code": "maybe"})}),
            "field 'code'",
        ),
    ],
)
def test_a_malformed_answer_is_refused_by_name_and_its_bytes_are_counted(
    town: Town, record: RecordDict, reason: str
) -> None:
    town.nodes["bank-02"].says = lambda _bank, _request: record
    answers = town.ask(town.fleet())
    assert (answers["bank-02"].reply, answers["bank-02"].code) == (None, "refused")
    assert reason in answers["bank-02"].reason
    assert answers["bank-02"].bytes_up > 0
    assert answers["bank-03"].reply is not None


def test_an_error_of_flowers_client_is_a_refusal(town: Town) -> None:
    node = town.nodes["bank-02"]
    node.says = never
    town.steps = [nothing, lambda: node.send(node.working.pop(), Error(code=6, reason="it crashed"))]
    answer = town.ask(town.fleet())["bank-02"]
    assert (answer.reply, answer.code, answer.reason) == (None, "refused", "it crashed")


def test_a_phase_that_is_to_end_ends_at_its_next_wait(town: Town) -> None:
    class StoppedError(FraudflError):
        pass

    def stop() -> None:
        raise StoppedError

    town.nodes["bank-02"].says = never
    for wait in (lambda fleet: list(fleet.ask({"bank-02": asking(OPEN)}, deadline=60)), lambda fleet: fleet.pause(60)):
        town.steps = [nothing, stop]
        with pytest.raises(StoppedError):
            wait(town.fleet())


def test_a_pause_lasts_as_long_as_it_is_to(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_fleet, "LOOK_SECONDS", 0.5)
    now, waited = [100.0], []

    class Time:
        monotonic = staticmethod(lambda: now[0])

    def wait(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(flower_fleet, "time", Time)
    FlowerFleet(town.grid, {}, presence=Presence(dict, wait)).pause(1.75)
    assert waited == [0.5, 0.5, 0.5, 0.25]


# Simulation: nodes are found by asking, and count as there.


@pytest.fixture
def working(town: Town) -> Iterator[Town]:
    """The banks work by themselves, beside the coordinator."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.005):
            town.wait(0)

    thread = threading.Thread(target=run)
    thread.start()
    yield town
    ended.set()
    thread.join()


def test_nodes_are_found_by_asking_which_bank_they_are(working: Town) -> None:
    fleet = FlowerFleet.discover(working.grid, 3)
    assert fleet.banks() == BANKS
    sizes = fleet.overhead()
    assert set(sizes) == set(BANKS)
    assert all(down > 0 and up == working.nodes[bank].sizes[0] for bank, (down, up) in sizes.items())
    answers = list(fleet.ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=DEADLINE))
    assert all(answer.reply is not None and answer.reply.bank == answer.bank for answer in answers)


def test_two_nodes_that_say_they_are_one_bank_are_refused(working: Town) -> None:
    working.nodes["bank-02"].bank = "bank-01"
    with pytest.raises(RoundError, match="two nodes say that they are bank 'bank-01'"):
        FlowerFleet.discover(working.grid, 3)


def test_fewer_nodes_than_expected_are_not_enough(working: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_fleet, "GATHER_SECONDS", 0.3)
    monkeypatch.setattr(flower_fleet, "GREET_SECONDS", 0.0)
    with pytest.raises(RoundError, match=r"3 banks are there within 0.3 s, expected 4"):
        FlowerFleet.discover(working.grid, 4)


def test_nodes_that_do_not_say_who_they_are_are_not_enough(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_fleet, "GATHER_SECONDS", 0.3)
    monkeypatch.setattr(flower_fleet, "GREET_SECONDS", 0.0)
    with pytest.raises(RoundError, match=r"0 banks said who they are within 0.3 s, expected 3"):
        FlowerFleet.discover(town.grid, 3)


@pytest.mark.parametrize("at_once", [1, 2, 3, None])
def test_no_more_questions_are_under_way_at_once_than_allowed(working: Town, at_once: int | None) -> None:
    grid = Watched(working.grid)
    ids = {bank: node.node for bank, node in working.nodes.items()}
    fleet = FlowerFleet(cast(Grid, grid), ids, at_once=at_once)
    answers = list(fleet.ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=DEADLINE))
    assert sorted(answer.bank for answer in answers if answer.reply is not None) == sorted(BANKS)
    assert grid.most == (at_once or len(BANKS))


def test_banks_that_were_not_reached_by_the_deadline_are_silent_and_cost_nothing(town: Town) -> None:
    ids = {bank: node.node for bank, node in town.nodes.items()}
    fleet = FlowerFleet(town.grid, ids, at_once=1)
    for node in town.nodes.values():
        node.says = never
    answers = {answer.bank: answer for answer in fleet.ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=0.3)}
    assert {answer.code for answer in answers.values()} == {"silent"}
    assert [answers[bank].bytes_down > 0 for bank in BANKS] == [True, False, False]
    assert answers["bank-02"].reason == "not asked within 0.3 s"


def test_without_presence_a_node_that_left_is_away_by_flowers_word(working: Town) -> None:
    fleet = FlowerFleet(working.grid, {bank: node.node for bank, node in working.nodes.items()})
    working.nodes["bank-02"].leave()
    answers = {answer.bank: answer for answer in fleet.ask(dict.fromkeys(BANKS, asking(OPEN)), deadline=DEADLINE)}
    assert (answers["bank-02"].reply, answers["bank-02"].code) == (None, "away")
    assert answers["bank-01"].reply is not None


def test_the_fleet_leaves_nothing_of_its_messages_in_flowers_state(town: Town) -> None:
    town.ask(town.fleet())
    assert (town.link.state.num_message_ins(), town.link.state.num_message_res()) == (0, 0)
