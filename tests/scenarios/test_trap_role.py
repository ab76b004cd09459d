"""The trap over real sockets: what it says, whom it marks, and when it is silent."""

import asyncio
import time
from contextlib import suppress

import pytest
from trap_rig import STEP, Rig, run

from tideover.events.recipient_records import HoneypotHit
from tideover.events.trap_records import ClientTrapped, TrapSilent
from tideover.policy.networks import network_of
from tideover.primary.interface import PrimaryState


def marks(rig: Rig) -> dict[str, tuple[str, ...]]:
    return {e.client: e.why for e in rig.events if isinstance(e, ClientTrapped)}


async def leave_politely(rig: Rig, source: str = "127.0.0.1", helo: bytes = b"a.example") -> None:
    client = await rig.client(source)
    await client.try_mail(helo)
    assert (await client.say(b"QUIT")).startswith(b"221 ")
    await client.close()


def test_mail_is_never_taken_and_each_reply_takes_its_time(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        began = time.monotonic()
        assert (await client.try_mail()).startswith(b"451 4.3.2 ")
        assert time.monotonic() - began >= 4 * 0.15
        assert (await client.say(b"DATA")).startswith(b"451 ")
        assert (await client.say(b"AUTH LOGIN")).startswith(b"502 ")
        assert (await client.say(b"QUIT")).startswith(b"221 ")
        assert await client.hear() == b""
        await client.close()

    run(tmp_path, test, delay=0.15)


def test_who_comes_and_goes_politely_gets_a_weak_mark_only(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        await leave_politely(rig)
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first",)}
        assert [caught.strong for caught in rig.role.caught()] == [False]

    run(tmp_path, test)


@pytest.mark.parametrize("helo", [b"mx9.example.org", b"example.com", b"8.8.8.8", b"[8.8.8.8]"])
def test_a_forged_name_makes_a_strong_mark(tmp_path, helo):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        await leave_politely(rig, helo=helo)
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first", "forged-helo")}
        assert [caught.strong for caught in rig.role.caught()] == [True]

    run(tmp_path, test)


def test_hanging_up_without_quit_makes_a_strong_mark(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client("127.0.0.7")
        await client.try_mail()
        await client.close()
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.7": ("last-mx-first", "no-quit")}

    run(tmp_path, test)


def test_who_only_looks_in_and_goes_is_not_said_to_hang_up(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        await client.hear()
        await client.close()
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first",)}

    run(tmp_path, test)


def test_a_quit_that_waits_behind_a_reply_counts(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        await client.try_mail()
        client.writer.write(b"RSET\r\nQUIT\r\n")
        await client.close()
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first",)}

    run(tmp_path, test, delay=0.2)


def test_who_speaks_before_the_greeting_is_noticed(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        client.writer.write(b"EHLO a.example\r\n")
        assert (await client.hear()).startswith(b"220 ")
        assert (await client.hear()).startswith(b"250 ")
        assert (await client.say(b"QUIT")).startswith(b"221 ")
        await client.close()
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first", "early-talker")}

    run(tmp_path, test, delay=0.2)


def test_many_recipients_alone_stay_weak(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        await client.try_mail()
        client.writer.write(b"".join(b"RCPT TO:<u%d@example.com>\r\n" % n for n in range(60)))
        for _ in range(60):
            assert (await client.hear()).startswith(b"451 ")
        await client.say(b"QUIT")
        await client.close()
        await rig.until(lambda: marks(rig))
        assert marks(rig) == {"127.0.0.1": ("last-mx-first", "many-recipients")}
        assert not rig.role.caught()[0].strong

    run(tmp_path, test)


def test_clients_known_from_elsewhere_are_not_marked(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        rig.memory.met(network_of("127.0.1.1"), time.time())
        rig.memory.waited(network_of("127.0.2.1"), time.time())
        for source in ("127.0.1.1", "127.0.2.1", "127.0.3.1"):
            client = await rig.client(source)
            await client.try_mail()
            await client.close()
        await rig.until(lambda: marks(rig))
        await asyncio.sleep(5 * STEP)
        assert set(marks(rig)) == {"127.0.3.1"}

    run(tmp_path, test)


def test_nobody_is_marked_before_a_later_check_has_found_all_up(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        rig.primaries.fresh = False
        await leave_politely(rig)
        await rig.until(lambda: rig.role.state().waiting == 1)
        await asyncio.sleep(8 * STEP)  # a check that was fresh would mark within half of it
        assert not marks(rig)
        rig.primaries.fresh = True
        await rig.until(lambda: marks(rig))

    run(tmp_path, test)


@pytest.mark.parametrize("how", ["down", "doubt", "unknown", "recovering", "held"])
def test_an_outage_silences_it_at_once_and_marks_nobody(tmp_path, how):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        rig.primaries.fresh = False
        client = await rig.client()
        await client.try_mail(b"mx9.example.org")
        await client.close()
        lasting = await rig.client("127.0.0.2")
        await rig.until(lambda: rig.role.state().waiting == 1)
        if how == "doubt":
            rig.primaries.doubt.add("example.org")
        else:
            rig.primaries.states["example.org"] = PrimaryState(how)
        await rig.until(lambda: rig.role.state().state == "silent", 5.0)
        while await lasting.hear():
            pass
        await lasting.close()
        with pytest.raises(ConnectionRefusedError):
            await rig.client()
        assert [(e.closed, e.dropped) for e in rig.events if isinstance(e, TrapSilent)] == [(1, 1)]
        assert "example.org" in rig.role.state().reason
        rig.primaries.states.clear()
        rig.primaries.doubt.clear()
        rig.primaries.fresh = True
        await rig.is_open()
        await leave_politely(rig, "127.0.0.3")
        await rig.until(lambda: marks(rig))
        assert set(marks(rig)) == {"127.0.0.3"}

    run(tmp_path, test)


def test_who_comes_soon_after_an_outage_is_not_marked(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        await leave_politely(rig)
        await asyncio.sleep(0.7)
        assert not marks(rig)
        await leave_politely(rig)
        await rig.until(lambda: marks(rig))

    run(tmp_path, test, settle=0.5)


def test_connections_are_bounded_in_all_and_for_each_client(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        held = [await rig.client("127.0.0.1") for _ in range(2)]
        for client in held:
            assert (await client.hear()).startswith(b"220 ")
        with pytest.raises(OSError, match=r"(?i)reset|not connected"):
            await (await rig.client("127.0.0.1")).try_mail()
        held.append(await rig.client("127.0.0.2"))
        assert (await held[-1].hear()).startswith(b"220 ")
        with pytest.raises(OSError, match=r"(?i)reset|not connected"):
            await (await rig.client("127.0.0.3")).try_mail()
        assert rig.role.state().connections == 3
        for client in held:
            await client.say(b"QUIT")
            await client.close()
        await rig.until(lambda: not rig.role.state().connections)
        await leave_politely(rig)

    run(tmp_path, test, max_connections=3, max_connections_per_client=2)


def test_a_line_without_end_ends_the_connection(tmp_path):
    async def test(rig: Rig) -> None:
        await rig.is_open()
        client = await rig.client()
        await client.hear()
        client.writer.write(b"x" * 5000)
        with suppress(ConnectionError):
            assert await client.hear() == b""
        await client.close()
        await rig.until(lambda: not rig.role.state().connections)

    run(tmp_path, test)


def test_honeypots_mark_too(tmp_path):
    async def test(rig: Rig) -> None:
        hit = HoneypotHit(
            session="s", client="192.0.2.9", sender="a@example.net", recipient="x", source="y"
        )
        rig.role.greytrap.take(hit, b"")
        assert marks(rig) == {"192.0.2.9": ("honeypot",)}
        assert rig.role.forget("192.0.2.9")
        assert not rig.role.forget("192.0.2.9")
        assert rig.role.caught() == []

    run(tmp_path, test)
