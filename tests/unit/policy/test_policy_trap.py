"""The check "trap": what a client has earned at the last MX, and what that weighs."""

import pytest
from rcpt_facts import NOW, about, at_once, names, services, with_memory

from tideover.config.findings import FINDINGS
from tideover.config.policy import Profile
from tideover.policy.checks import trap
from tideover.policy.interface import NOTHING
from tideover.policy.memory import Kind
from tideover.policy.memory_reading import stored_marks
from tideover.policy.networks import host_of, network_of


def found(memory, address):
    check = trap.make(services(memory))
    return at_once(check(about(address=address)))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_marks_are_found_until_they_end(tmp_path, address):
    async def test(memory):
        assert found(memory, address) == NOTHING
        memory.renew(Kind.SIDE_DOOR, host_of(address).encode(), NOW, 1000.0)
        assert names(found(memory, address)) == ["last-mx-first"]
        memory.renew(Kind.TRAPPED, host_of(address).encode(), NOW, 1000.0)
        assert names(found(memory, address)) == ["trapped"]
        assert found(memory, "192.0.2.2") == NOTHING
        assert memory.forget(Kind.TRAPPED, host_of(address).encode(), NOW)
        assert names(found(memory, address)) == ["last-mx-first"]

    with_memory(tmp_path, test)


def test_a_weak_mark_is_not_held_against_who_is_known(tmp_path):
    async def test(memory):
        memory.renew(Kind.SIDE_DOOR, b"192.0.2.1", NOW, 1000.0)
        memory.met(network_of("192.0.2.1"), NOW)
        assert found(memory, "192.0.2.1") == NOTHING

    with_memory(tmp_path, test)


def test_neighbours_in_a_64_share_a_mark_and_those_in_a_24_do_not():
    assert host_of("2001:db8::1") == host_of("2001:db8::ffff") == "2001:db8::/64"
    assert host_of("192.0.2.1") != host_of("192.0.2.2")


def test_no_mark_refuses_anybody_by_itself():
    for name in ("trapped", "last-mx-first"):
        action = FINDINGS[name].action
        assert isinstance(action, float)
        assert action < Profile().reject_score


def test_forgotten_and_ended_marks_are_not_told_without_a_daemon_either(tmp_path):
    path = tmp_path / "clients.sqlite"
    assert stored_marks(path, Kind.TRAPPED, NOW) == []

    async def test(memory):
        for key, keep in ((b"192.0.2.1", 10.0), (b"192.0.2.2", 1000.0), (b"192.0.2.3", 1000.0)):
            memory.renew(Kind.TRAPPED, key, NOW, keep)
        assert [key for key, _ in memory.marks(Kind.TRAPPED, NOW + 20)] == [
            b"192.0.2.2",
            b"192.0.2.3",
        ]
        assert memory.forget(Kind.TRAPPED, b"192.0.2.3", NOW)
        assert not memory.forget(Kind.TRAPPED, b"192.0.2.3", NOW)

    with_memory(tmp_path, test)
    assert [key for key, _ in stored_marks(path, Kind.TRAPPED, NOW + 20)] == [b"192.0.2.2"]


def test_a_file_that_is_none_is_said_to_be_so(tmp_path):
    path = tmp_path / "clients.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(OSError, match="can't be read"):
        stored_marks(path, Kind.TRAPPED, NOW)
