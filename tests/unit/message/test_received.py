import pytest

from tideover.message.dates import rfc5322_date
from tideover.message.envelope import Client, Envelope, QueueId, Recipient, SessionId
from tideover.message.received import received

CLIENT = Client(session=SessionId("s1"), address="192.0.2.1", port=9, helo="c.example",
                protocol="ESMTPS", tls="TLSv1.3 TLS_AES_256_GCM_SHA384")  # fmt: skip
ONE = Envelope(sender="", recipients=(Recipient(address="r@example.com", domain="example.com"),))


def render(client=CLIENT, envelope=ONE):
    return received(QueueId("Q1"), envelope, client, hostname="mx2.example.org", time=1795257651.0)


def test_received_is_folded_and_complete():
    assert render() == (
        b"Received: from c.example ([192.0.2.1])\r\n"
        b"\tby mx2.example.org with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tid Q1\r\n"
        b"\tfor <r@example.com>;\r\n"
        b"\tSat, 21 Nov 2026 10:40:51 +0000\r\n"
    )


def test_several_recipients_do_not_learn_of_each_other():
    two = Envelope(sender="", recipients=ONE.recipients * 2)
    assert b"for" not in render(envelope=two)


@pytest.mark.parametrize("helo", ["a b", "x)", "a\r\nX: y", "(", "[127.0.0.1", "", "é", "a" * 300])
def test_a_client_cannot_forge_a_header(helo):
    client = Client(session=CLIENT.session, address="2001:db8::1", port=9, helo=helo,
                    protocol="ESMTP")  # fmt: skip
    line = render(client).split(b"\r\n")[0]
    assert line == b"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])"


def test_dates():
    assert rfc5322_date(0.9) == "Thu, 1 Jan 1970 00:00:00 +0000"
