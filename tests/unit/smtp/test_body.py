import pytest

from tideover.smtp.body import ChunkReader, DotReader, has_bare_line_end


def read_dots(wire: bytes, step: int) -> tuple[bytes, bytes, bool, bool]:
    reader, buffer, body = DotReader(), bytearray(), b""
    ended = False
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        while not ended:
            piece, ended = reader.take(buffer)
            body += piece
            if not piece:
                break
    return body, bytes(buffer), ended, reader.bad


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 1000])
@pytest.mark.parametrize(
    ("wire", "body", "rest"),
    [
        (b".\r\n", b"", b""),
        (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n..b\r\n...\r\n.\r\nX", b"a\r\n.b\r\n..\r\n", b"X"),
        (b"a\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n", b""),
        (b"\x00\xff.\r\n.\r\n", b"\x00\xff.\r\n", b""),
    ],
)
def test_a_body_ends_at_its_dot_and_is_unstuffed(wire, body, rest, step):
    assert read_dots(wire, step) == (body, rest, True, False)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n\n.\r\n",
            b"\r\n.\r\r\n", b"\r\r\n.\r\n"],
)  # fmt: skip
def test_I10_nothing_but_crlf_dot_crlf_is_clean(end, step):
    *_, ended, bad = read_dots(b"a" + end + b"b\r\n.\r\n", step)
    assert ended
    assert bad


def test_a_dot_line_inside_a_held_back_piece():
    reader, buffer = DotReader(), bytearray(b"a\r\n.")
    assert reader.take(buffer) == (b"a", False)
    buffer += b".b\r\n.\r\n"
    assert reader.take(buffer) == (b"\r\n.b\r\n", True)


@pytest.mark.parametrize("split", range(1, 7))
def test_chunks_judge_line_ends_across_their_borders(split):
    for data, bad in ((b"a\r\nb\r\n", False), (b"a\r\nb\r\r\n", True), (b"ab\ncd\r\n", True)):
        reader, buffer, out = ChunkReader(), bytearray(data), b""
        for octets in (split, len(data) - split):
            reader.left = octets
            while reader.left:
                out += reader.take(buffer)
        reader.finish()
        assert reader.bad is bad
        assert bad or out == data


def test_a_cr_at_the_very_end_of_a_chunked_body_is_bare():
    reader = ChunkReader()
    reader.left = 2
    assert reader.take(bytearray(b"a\r")) == b"a"
    reader.finish()
    assert reader.bad


def test_bare_line_ends():
    assert not has_bare_line_end(b"a\r\n\r\nb")
    for bad in (b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"a\rb", b"\n\r"):
        assert has_bare_line_end(bad)
