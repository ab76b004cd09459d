"""The milter protocol's packets: any split of bytes, limits, and nonsense."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tideover.policy.engines.milter import codec
from tideover.policy.engines.milter.codec import (
    Command,
    MilterError,
    Packets,
    Protocol,
    agreed,
)
from tideover.testing.milter import agreement, packet


def all_of(packets):
    found = []
    while (one := packets.next()) is not None:
        found.append(one)
    return found


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=50)), max_size=8),
    st.lists(st.integers(0, 500), max_size=20),
)
def test_packets_come_whole_however_the_bytes_are_split(sent, cuts):
    data = b"".join(packet(*one) for one in sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    packets, found = Packets(), []
    for start, end in pairwise(places):
        packets.feed(data[start:end])
        found += all_of(packets)
    assert found == sent


@pytest.mark.parametrize("length", [0, codec.MAX_PACKET + 1, 2**32 - 1])
def test_a_packet_of_no_or_too_much_length_is_refused_before_it_is_read(length):
    packets = Packets()
    packets.feed(struct.pack(">I", length))
    with pytest.raises(MilterError, match=str(length)):
        packets.next()


def test_the_largest_packet_is_taken():
    packets = Packets()
    packets.feed(packet(b"q", b"x" * (codec.MAX_PACKET - 1)))
    assert packets.next() == (b"q", b"x" * (codec.MAX_PACKET - 1))


@given(st.binary(max_size=200))
def test_garbage_is_packets_or_an_error(data):
    packets = Packets()
    packets.feed(data)
    try:
        found = all_of(packets)
    except MilterError:
        return
    assert sum(5 + len(one) for _, one in found) <= len(data)


def test_our_offer_on_the_wire():
    assert codec.offer() == packet(b"O", struct.pack(">III", 6, 0x131, 0x1FF7FF))


def test_connect_tells_name_family_port_and_address():
    four = codec.connect("mail.example.net", "192.0.2.7", 2525)
    assert four == packet(b"C", b"mail.example.net\x004\x09\xdd192.0.2.7\0")
    six = codec.connect("[2001:db8::1]", "2001:db8::1", 25)
    assert six == packet(b"C", b"[2001:db8::1]\x006\0\x192001:db8::1\0")


def test_no_string_can_end_before_its_end():
    assert codec.strings(Command.HELO, [b"a\0b"]) == packet(b"H", b"ab\0")
    assert codec.macros(Command.MAIL, {"i": "a\0b"}) == packet(b"D", b"Mi\0ab\0")


def test_what_is_agreed():
    found = agreed(b"O", agreement(4, 0x1FF, 0x80 | 0x100000 | 0x800 | 0x40000000)[5:])
    assert found.version == 4
    assert found.protocol == Protocol.NR_HDR | Protocol.HDR_LEADSPC
    assert not found.macros


def test_a_filter_can_name_the_macros_that_it_wants():
    lists = struct.pack(">I", 0) + b"j, {client_ptr}\0" + struct.pack(">I", 5) + b"\0"
    lists += struct.pack(">I", 99) + b"x\0"
    found = agreed(b"O", agreement(macros=lists)[5:])
    assert found.macros == {Command.CONNECT: ("j", "{client_ptr}"), Command.BODYEOB: ()}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"c", b""),
        (b"O", b""),
        (b"O", struct.pack(">II", 6, 0)),
        (b"O", struct.pack(">III", 1, 0, 0)),
        (b"O", struct.pack(">III", 7, 0, 0)),
        (b"O", struct.pack(">III", 6, 0, 0) + b"\0"),
        (b"O", struct.pack(">III", 6, 0, 0) + b"\0\0\0\0never ended"),
    ],
)
def test_a_negotiation_that_is_none_is_an_error(name, data):
    with pytest.raises(MilterError):
        agreed(name, data)


@given(st.binary(max_size=60))
def test_any_negotiation_is_a_value_or_an_error(data):
    try:
        agreed(b"O", data)
    except MilterError:
        return
