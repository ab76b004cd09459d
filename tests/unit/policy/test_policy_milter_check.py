"""The check "milters" with filters that do what a script says, well and badly."""

import asyncio
import struct

import pytest
from msgspec.structs import replace

from milter_talk import (
    CLIENT,
    MAIL,
    OTHER,
    USER,
    Talk,
    after,
    among,
    config,
    lenient,
    message,
    names,
    run,
    settings,
    talk,
)
from tideover.config.policy_values import SocketAddress
from tideover.config.values import Endpoint
from tideover.message.edits import Add, Change
from tideover.policy.engines import milters
from tideover.policy.engines.milter import codec
from tideover.policy.engines.milter.codec import Protocol
from tideover.policy.engines.milter.connection import open_connection
from tideover.policy.interface import About, Found, Result, Stage, Verb
from tideover.policy.services import Services
from tideover.smtp.replies import Reply
from tideover.testing.milter import (
    CLOSE,
    CONTINUE,
    DEAF,
    SILENCE,
    FakeMilter,
    agreement,
    header,
    packet,
)
from tideover.testing.ports import free_port

NO = packet(b"r")
LATER = packet(b"t")
ACCEPT = packet(b"a")
WORDS = packet(b"y", b"550 5.7.9 Not today\0")
NO_EVENTS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x200
NO_REPLIES = 0x80 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x40000 | 0x80000
STEPS = ["O", "C", "H", "M", "R", "T", "L", "N", "B", "E"]


def whole(answers=None, *, data=MAIL, recipients=(USER,), facts=None, fake=None, **more):
    """One message through one filter: what came of the recipients, of the message, and the fake."""

    async def work():
        async with fake or FakeMilter(answers, **more) as filter_:
            async with talk({"f": settings(filter_.address)}, **facts or {}) as one:
                rcpts = [await one.rcpt(each) for each in recipients]
                kept = tuple(
                    each for each, said in zip(recipients, rcpts, strict=True) if not said.found
                )
                end = await one.message(data, kept)
            return rcpts, end, filter_

    return run(work())


def test_without_milters_there_is_no_check():
    services = Services(
        config=config({}), names=None, memory=None, is_ours=bool, emit=lambda _: None
    )
    assert milters.make(services) is None


def test_all_that_a_filter_hears_in_its_order():
    rcpts, end, filter_ = whole(recipients=(USER, OTHER))
    assert filter_.letters.rstrip("AQ") == "OCHMRRTLLNBE"
    assert filter_.data("C") == [b"mail.example.net\x004\x09\xdd192.0.2.7\0"]
    assert filter_.data("H") == [b"mail.example.net\0"]
    assert filter_.data("M") == [b"<a@example.net>\0"]
    assert filter_.data("R") == [b"<user@example.com>\0", b"<other@example.com>\0"]
    assert filter_.data("L") == [b"Subject\0hello\0", b"From\0a@example.net\0"]
    assert filter_.data("B") == [b"Body.\r\n"]
    assert rcpts == [Result(), Result()]
    assert end == Result(evidence={"f": "continue"})


def test_macros_of_each_stage():
    _, _, filter_ = whole()
    assert filter_.macros("C")["j"] == "mx2.example.org"
    assert filter_.macros("C")["_"] == "mail.example.net [192.0.2.7]"
    assert filter_.macros("C")["{client_resolve}"] == "OK"
    assert filter_.macros("H") == {
        "{tls_version}": "TLSv1.3", "{cipher}": "TLS_AES_256_GCM_SHA384"
    }  # fmt: skip
    assert filter_.macros("M")["{mail_addr}"] == "a@example.net"
    assert filter_.macros("R")["{rcpt_addr}"] == "user@example.com"
    assert filter_.macros("T") == filter_.macros("N") == filter_.macros("E") == {"i": "Q1"}


@pytest.mark.parametrize(
    ("result", "ptr", "resolved"),
    [
        (Result(evidence={"ptr": "liar.example"}), "liar.example", "FORGED"),
        (Result(found=(Found(name="rdns-none"),)), "unknown", "FAIL"),
        (Result(undecided="no answer"), "unknown", "TEMP"),
        (None, "unknown", "TEMP"),
    ],
)
def test_a_client_without_a_confirmed_name_is_its_address(result, ptr, resolved):
    results = {} if result is None else {"reverse-dns": result}
    _, _, filter_ = whole(facts={"results": results})
    assert filter_.data("C")[0].startswith(b"[192.0.2.7]\x004")
    assert filter_.macros("C")["{client_name}"] == "[192.0.2.7]"
    assert filter_.macros("C")["{client_ptr}"] == ptr
    assert filter_.macros("C")["{client_resolve}"] == resolved


def test_a_filter_gets_the_macros_that_it_asks_for():
    lists = struct.pack(">I", 0) + b"{client_ptr} j {nonsense}\0"
    lists += struct.pack(">I", 2) + b"\0" + struct.pack(">I", 3) + b"rcpt_addr, r\0"
    _, _, filter_ = whole(negotiation=agreement(macros=lists))
    assert filter_.macros("C") == {"{client_ptr}": "mail.example.net", "j": "mx2.example.org"}
    assert filter_.macros("M") == {}
    assert filter_.macros("R") == {"rcpt_addr": "user@example.com", "r": "ESMTPS"}


def test_a_null_sender_and_parameters():
    someone = type(USER)(
        address="user@example.com", domain="example.com", notify=("NEVER",), orcpt="rfc822;x"
    )
    _, _, filter_ = whole(facts={"sender": "", "smtputf8": True}, recipients=(someone,))
    assert filter_.data("M") == [b"<>\0SMTPUTF8\0"]
    assert filter_.data("R") == [b"<user@example.com>\0NOTIFY=NEVER\0ORCPT=rfc822;x\0"]
    assert filter_.macros("M")["{mail_addr}"] == "<>"


def test_what_a_filter_does_not_want_is_not_sent():
    _, end, filter_ = whole(protocol=NO_EVENTS)
    assert filter_.letters.rstrip("AQ") == "OE"
    assert filter_.macros("R")["{rcpt_addr}"] == "user@example.com"
    assert end == Result(evidence={"f": "continue"})


def test_what_a_filter_does_not_answer_is_not_waited_for():
    _, end, filter_ = whole({"E": NO}, protocol=NO_REPLIES)
    assert filter_.letters.rstrip("AQ") == "OCHMRTLLNBE"
    assert names(end) == ["milter-reject"]


def test_a_filter_of_version_2_hears_no_data():
    _, end, filter_ = whole(negotiation=agreement(version=2))
    assert filter_.letters.rstrip("AQ") == "OCHMRLLNBE"
    assert not end.found


def test_a_filter_that_wants_all_actions_is_welcome():
    _, end, _ = whole(negotiation=agreement(actions=0x1FF))
    assert not end.found


def test_leading_space_of_values_for_those_who_want_it():
    data = b"A: one\r\nB:two\r\nC:  three\r\nD:\tfour\r\n five\r\n\r\nx"
    _, _, plain = whole(data=data)
    assert plain.data("L") == [b"A\0one\0", b"B\0two\0", b"C\0 three\0", b"D\0\tfour\n five\0"]
    edit = header(b"h", b"X", b"v") + header(b"h", b"Y", b"\tw") + CONTINUE
    _, end, exact = whole({"E": edit}, data=data, protocol=Protocol.HDR_LEADSPC)
    assert exact.data("L") == [b"A\0 one\0", b"B\0two\0", b"C\0  three\0", b"D\0\tfour\n five\0"]
    assert end.edits == (Add(b"X", b" v", 4), Add(b"Y", b"\tw", 5))


def test_the_body_comes_in_chunks_and_whole():
    body = bytes(range(1, 256)) * 1000
    _, _, filter_ = whole(data=b"A: b\r\n\r\n" + body)
    chunks = filter_.data("B")
    assert b"".join(chunks) == body
    assert max(map(len, chunks)) == 65535


def test_a_section_that_ends_in_a_broken_line_hides_nothing():
    data = b"A: b\r\nno field here\r\nB: c\r\n\r\nbody"
    _, _, filter_ = whole(data=data)
    assert filter_.data("L") == [b"A\0b\0"]
    assert b"".join(filter_.data("B")) == data[6:]


def test_skip_ends_the_body():
    _, end, filter_ = whole({"B": packet(b"s")}, data=b"A: b\r\n\r\n" + b"x" * 300_000)
    assert len(filter_.data("B")) == 1
    assert filter_.letters.rstrip("AQ").endswith("NBE")
    assert end.evidence == {"f": "continue"}


# Verdicts


@pytest.mark.parametrize("step", ["C", "H", "M"])
@pytest.mark.parametrize(
    ("answer", "name", "reply"),
    [
        (NO, "milter-reject", None),
        (LATER, "milter-defer", None),
        (packet(b"4"), "milter-defer", None),
        (WORDS, "milter-reject", Reply(550, "5.7.9", ("Not today",))),
    ],
)
def test_a_refusal_of_client_or_sender_concerns_all_recipients(step, answer, name, reply):
    rcpts, end, filter_ = whole({step: answer}, recipients=(USER, OTHER))
    assert [names(one) for one in [*rcpts, end]] == [[name]] * 3
    assert rcpts[1].found[0].reply == reply
    assert rcpts[0].found[0].reason.startswith("f")
    assert filter_.letters.rstrip("AQ") == "OCHM"[: "OCHM".index(step) + 1]
    assert filter_.connections == 1


def test_a_refusal_of_a_recipient_concerns_that_one():
    rcpts, end, filter_ = whole({"R": [WORDS, CONTINUE, LATER]}, recipients=(USER, OTHER, OTHER))
    assert names(rcpts[0]) == ["milter-reject"]
    assert rcpts[0].found[0].reply == Reply(550, "5.7.9", ("Not today",))
    assert rcpts[1] == rcpts[2] == Result()
    assert end == Result(evidence={"f": "continue"})
    assert filter_.letters.rstrip("AQ") == "OCHMRRTLLNBE"


@pytest.mark.parametrize("step", ["T", "L", "N", "B", "E"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [(NO, ["milter-reject"]), (LATER, ["milter-defer"]), (ACCEPT, []),
     (packet(b"d"), ["milter-discard"])],
)  # fmt: skip
def test_each_step_of_a_message_can_be_the_last(step, answer, expected):
    _, end, filter_ = whole({step: answer})
    assert names(end) == expected
    assert filter_.letters.rstrip("AQ")[-1] == step


@pytest.mark.parametrize("step", ["C", "H", "M", "R"])
def test_a_filter_that_accepts_hears_no_more(step):
    rcpts, end, filter_ = whole({step: ACCEPT})
    assert not rcpts[0].found
    assert end == Result(evidence={"f": "accept"})
    assert filter_.letters.rstrip("AQ")[-1] == step


@pytest.mark.parametrize("step", ["M", "R"])
def test_a_message_to_be_discarded_is_known_when_it_has_come(step):
    rcpts, end, _ = whole({step: packet(b"d")})
    assert not rcpts[0].found
    assert names(end) == ["milter-discard"]


def test_a_client_can_t_be_discarded():
    _, end, filter_ = whole({"C": packet(b"d"), "H": packet(b"d")})
    assert not end.found
    assert "E" in filter_.letters


def test_the_end_of_a_message_with_progress_changes_and_quarantine():
    wait = packet(b"p")
    wishes = (
        wait + header(b"h", b"X-Low", b"low") + header(b"i", b"X-Top", b"top", 0)
        + header(b"m", b"Subject", b"hi", 1) + wait + packet(b"q", b"looks odd\0") + CONTINUE
    )  # fmt: skip
    _, end, _ = whole({"E": wishes})
    assert names(end) == ["milter-quarantine"]
    assert end.found[0].reason == "f: looks odd"
    assert end.edits == (
        Change(b"Subject", 1, b" hi"), Add(b"X-Low", b" low", 2), Add(b"X-Top", b" top"),
    )  # fmt: skip
    assert end.evidence == {"f": "continue; quarantine; header changes: 3"}
    assert after(end).startswith(b"X-Top: top\r\nReceived: ")


def test_changes_that_are_not_carried_are_told():
    wishes = packet(b"b", b"new body") + packet(b"+", b"<x@example.org>\0") + packet(b"e", b"<>\0")
    _, end, _ = whole({"E": wishes + CONTINUE})
    assert end == Result(evidence={"f": "continue; not carried: body, recipients, sender"})


def test_changes_to_a_refused_message_are_not_made():
    _, end, _ = whole({"E": header(b"h", b"X-A", b"b") + NO})
    assert end.edits is None


# What goes wrong

GARBAGE = {
    "nonsense": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "empty packet": b"\0\0\0\0",
    "huge packet": b"\x7f\xff\xff\xff" + b"r",
    "unknown answer": packet(b"!"),
    "half a packet": b"\0\0\0\5y5",
    "bad reply": packet(b"y", b"250 fine\0"),
    "close": CLOSE,
}


@pytest.mark.parametrize("how", [settings, lenient])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("what", GARBAGE)
def test_a_filter_that_goes_wrong_has_failed(what, step, how):
    async def work():
        # only half a packet is waited for
        timeout = 0.05 if what == "half a packet" else 20.0
        async with among(FakeMilter({step: GARBAGE[what]}), how=how, timeout=timeout) as one:
            return await one.rcpt(), await one.message()

    first, end = run(work())
    assert names(first) == (["engine-failed"] if step in "OCHMR" else [])
    assert names(end) == ["engine-failed"]
    assert end.found[0].action == (Verb.DEFER if how is settings else 0.0)
    assert end.found[0].reason.startswith("a: ")
    assert end.evidence["a"].startswith("failed: ")


@pytest.mark.parametrize("step", STEPS)
def test_silence_is_a_failure_after_the_time_limit(step):
    async def work():
        async with among(FakeMilter({step: SILENCE}), timeout=0.05) as one:
            await one.rcpt()
            return await one.message()

    end = run(work())
    assert names(end) == ["engine-failed"]
    assert "no answer within 0.05 s" in end.found[0].reason


def test_nobody_there():
    async def work():
        nobody = SocketAddress(Endpoint("127.0.0.1", free_port()), "")
        nowhere = SocketAddress(None, "/nonexistent/socket")
        async with talk({"a": lenient(nobody), "b": settings(nowhere)}) as one:
            return await one.rcpt()

    end = run(work())
    assert [found.action for found in end.found] == [0.0, Verb.DEFER]
    assert "no connection to 127.0.0.1:" in end.evidence["a"]


def test_one_that_dies_in_the_middle_of_its_changes_changes_nothing():
    _, end, _ = whole({"E": header(b"h", b"X-A", b"b") + packet(b"!")})
    assert names(end) == ["engine-failed"]
    assert end.edits is None


def test_changes_before_the_end_are_a_failure():
    _, end, _ = whole({"N": header(b"h", b"X-A", b"b")})
    assert names(end) == ["engine-failed"]


@pytest.mark.parametrize("flood", [header(b"h", b"X", b"v") * 1001,
                                   header(b"h", b"X", b"v" * 200_000) * 6])  # fmt: skip
def test_there_is_a_limit_to_wishes(flood):
    _, end, _ = whole({"E": flood + CONTINUE})
    assert "too many changes" in end.found[0].reason
    assert end.edits is None


def test_a_filter_that_reads_nothing_is_given_up():
    async def work():
        async with among(FakeMilter({"N": DEAF}, protocol=NO_REPLIES), timeout=0.1) as one:
            await one.rcpt()
            return await one.message(b"A: b\r\n\r\n" + b"x" * 30_000_000)

    end = run(work())
    assert names(end) == ["engine-failed"]
    assert "takes nothing" in end.found[0].reason


def test_one_that_is_cancelled_is_not_talked_to_again():
    async def work():
        mute = FakeMilter({"R": SILENCE})
        async with among(mute) as one:
            asked = asyncio.ensure_future(one.rcpt())
            while "R" not in mute.letters:
                await asyncio.sleep(0.001)
            asked.cancel()
            end = await one.message()  # comes before the first has let go
            with pytest.raises(asyncio.CancelledError):
                await asked
            return end, mute

    end, mute = run(work())
    assert names(end) == ["engine-failed"]
    assert "time for this stage" in end.found[0].reason
    assert mute.letters == "OCHMR"


def test_a_slow_filter_costs_the_others_nothing_when_its_time_is_up():
    async def work():
        mute, good = FakeMilter({"M": SILENCE}), FakeMilter()
        async with among(mute, good, how=lenient) as one:
            asked = asyncio.ensure_future(one.rcpt())
            while "M" not in mute.letters or "M" not in good.letters:
                await asyncio.sleep(0.001)
            # the answer of the other one is on its way: let it come
            for _ in range(20):
                await asyncio.sleep(0.001)
            asked.cancel()
            return await one.message(), good

    end, good = run(work())
    assert names(end) == ["engine-failed"]
    assert end.found[0].reason.startswith("a: ")
    assert end.evidence["b"] == "continue"
    assert good.letters.startswith("OCHMRT")


def test_leave_of_one_that_reads_nothing_is_taken_at_once():
    async def work():
        async with FakeMilter({"O": DEAF}) as deaf:
            connection = await open_connection(deaf.address, 20.0)
            connection.send(codec.offer())
            connection.send(bytes(30_000_000))
            connection.close()
            await connection._writer.wait_closed()

    run(work())


# Several filters


def test_filters_see_the_changes_of_those_before():
    async def work():
        edit = header(b"m", b"Subject", b"changed", 1) + header(b"i", b"X-First", b"1", 0)
        undo = header(b"m", b"X-First", b"", 1) + header(b"h", b"X-Second", b"2")
        a, b = FakeMilter({"E": edit + CONTINUE}), FakeMilter({"E": undo + CONTINUE})
        async with among(a, b) as one:
            await one.rcpt()
            return await one.message(), b

    end, second = run(work())
    assert second.data("L") == [
        b"X-First\x001\0", b"Subject\0changed\0", b"From\0a@example.net\0",
    ]  # fmt: skip
    assert end.edits == (Change(b"Subject", 1, b" changed"), Add(b"X-Second", b" 2", 2))


def test_who_refuses_first_is_asked_last():
    async def work():
        a, b = FakeMilter({"R": [NO, CONTINUE], "E": NO}), FakeMilter()
        async with among(a, b) as one:
            first, second = await one.rcpt(), await one.rcpt(OTHER)
            return first, second, await one.message(recipients=(OTHER,)), b

    first, second, end, other = run(work())
    assert names(first) == names(end) == ["milter-reject"]
    assert not second.found
    assert other.data("R") == [b"<other@example.com>\0"]
    assert "E" not in other.letters


def test_what_is_to_be_discarded_is_held_so_others_look_at_it_too():
    async def work():
        a, b = FakeMilter({"E": packet(b"d")}), FakeMilter({"E": NO})
        async with among(a, b) as one:
            await one.rcpt()
            return await one.message()

    assert names(run(work())) == ["milter-discard", "milter-reject"]


def test_a_dead_filter_that_may_fail_keeps_nobody_from_asking_the_next():
    async def work():
        async with among(FakeMilter({"C": CLOSE}), FakeMilter({"E": NO}), how=lenient) as one:
            return await one.rcpt(), await one.message()

    first, end = run(work())
    assert names(first) == ["engine-failed"]
    assert names(end) == ["engine-failed", "milter-reject"]


# Transactions


def test_recipients_that_were_not_asked_about_are_told_before_the_message():
    async def work():
        a = FakeMilter({"R": [NO, CONTINUE]})
        async with among(a) as one:
            return await one.message(recipients=(USER, OTHER)), a

    end, filter_ = run(work())
    assert filter_.letters.rstrip("AQ") == "OCHMRRTLLNBE"
    assert end == Result(evidence={"a": "continue; recipients refused: 1"})


def test_a_message_all_of_whose_recipients_are_refused_is_refused():
    async def work():
        a = FakeMilter({"R": WORDS})
        async with among(a) as one:
            return await one.message(recipients=(USER, OTHER)), a

    end, filter_ = run(work())
    assert names(end) == ["milter-reject"]
    assert "T" not in filter_.letters


def test_a_message_that_can_t_be_read_again_is_a_failure():
    class Gone:
        size, whole = 100, None

        async def read(self):
            yield b"Subject: "
            raise OSError("the copy is gone")

    async def work():
        async with among(FakeMilter()) as one:
            broken = replace(message(), body=Gone())
            return await one.check(About(stage=Stage.MESSAGE, message=broken, **one.facts))

    end = run(work())
    assert names(end) == ["engine-failed"]
    assert "the copy is gone" in end.found[0].reason


def test_a_message_that_is_too_large_is_not_shown():
    async def work():
        a = FakeMilter({"E": NO})
        async with among(a, max_size=1024) as one:
            await one.rcpt()
            return await one.message(b"A: b\r\n\r\n" + b"x" * 1017), a

    end, filter_ = run(work())
    assert end == Result(evidence={"a": "not shown: larger than 1KiB"})
    assert "T" not in filter_.letters


def test_the_end_of_a_transaction_is_told_without_waiting():
    async def work():
        async with FakeMilter() as a:
            async with talk({"a": settings(a.address)}) as one:
                await one.rcpt()
            await a.closed.wait()
            return a

    assert run(work()).letters == "OCHMRAQ"


def test_an_ipv6_client_and_one_in_ipv4_clothes():
    six = replace(CLIENT, address="2001:db8::7")
    _, _, filter_ = whole(facts={"client": six, "results": {}})
    assert filter_.data("C") == [b"[2001:db8::7]\x006\x09\xdd2001:db8::7\0"]
    mapped = replace(CLIENT, address="::ffff:192.0.2.7")
    _, _, filter_ = whole(facts={"client": mapped, "results": {}})
    assert filter_.data("C") == [b"[192.0.2.7]\x004\x09\xdd192.0.2.7\0"]


def test_each_transaction_is_a_conversation_of_its_own():
    async def work():
        a = FakeMilter({"M": [NO, CONTINUE]})
        async with among(a) as one:
            other = Talk(one.check)
            found = await one.rcpt(), await other.rcpt()
            other.memory["milters"].close()
        return found, a

    (refused, taken), filter_ = run(work())
    assert names(refused) == ["milter-reject"]
    assert not taken.found
    assert filter_.connections == 2
