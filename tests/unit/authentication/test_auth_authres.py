"""authentication.authres: our Authentication-Results (RFC 8601), whatever strangers put into it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideover.authentication.authres import authentication_results
from tideover.authentication.authserv import authserv_id_of, statements_of
from tideover.authentication.results import ArcResult, DkimResult, DmarcResult, SpfResult

HOST = "mx2.example.org"


def said(text):
    return [(one.method, one.result, one.properties) for one in statements_of(text)]


def test_all_that_can_be_reported():
    text = authentication_results(
        HOST,
        iprev="pass",
        client="192.0.2.1",
        spf=(
            SpfResult(result="pass", domain="example.net", mechanism="mx"),
            SpfResult(result="none", domain="mail.example.net", scope="helo"),
        ),
        dkim=(
            DkimResult(
                result="pass", domain="example.net", selector="s1", identity="@example.net",
                algorithm="rsa-sha256", signature="a1B2+/c3",
            ),
            DkimResult(result="fail", domain="x.example", selector="s", reason="it was changed"),
        ),
        arc=ArcResult(result="pass", instance=2),
        dmarc=DmarcResult(result="pass", domain="example.net", aligned_by="spf dkim"),
    )  # fmt: skip
    assert text == (
        "mx2.example.org;\r\n"
        "\tiprev=pass policy.iprev=192.0.2.1;\r\n"
        "\tspf=pass smtp.mailfrom=example.net;\r\n"
        "\tspf=none smtp.helo=mail.example.net;\r\n"
        "\tdkim=pass header.d=example.net header.i=@example.net header.s=s1\r\n"
        '\theader.a=rsa-sha256 header.b="a1B2+/c3";\r\n'
        '\tdkim=fail reason="it was changed" header.d=x.example header.s=s;\r\n'
        "\tarc=pass smtp.remote-ip=192.0.2.1;\r\n"
        "\tdmarc=pass header.from=example.net"
    )


def test_a_failure_of_dmarc_says_what_was_asked_for():
    result = DmarcResult(result="fail", domain="a.example", policy="reject", reason="nobody speaks")
    text = authentication_results(HOST, dmarc=result)
    assert said(text) == [
        ("dmarc", "fail",
         {"reason": "nobody", "policy.dmarc": "reject", "header.from": "a.example"}),
    ]  # fmt: skip


def test_a_key_in_test_mode_is_told():
    result = DkimResult(result="pass", domain="a.example", selector="s", testing=True)
    assert 'reason="the key is in test mode"' in authentication_results(HOST, dkim=[result])


def test_nothing_to_report():
    assert authentication_results(HOST) == "mx2.example.org; none"


def test_an_ipv6_address_is_quoted():
    text = authentication_results(HOST, iprev="fail", client="2001:db8::1")
    assert text.endswith('iprev=fail policy.iprev="2001:db8::1"')


def test_no_more_signatures_than_one_can_read():
    dkim = [DkimResult(result="fail", domain=f"d{n}.example", selector="s") for n in range(50)]
    assert authentication_results(HOST, dkim=dkim).count("dkim=") == 10


def test_what_another_library_reads_in_it():
    reference = pytest.importorskip("authres")
    text = authentication_results(
        HOST,
        spf=[SpfResult(result="pass", domain="example.net")],
        dkim=[DkimResult(result="pass", domain="example.net", selector="s", signature="a/b=")],
        dmarc=DmarcResult(result="fail", domain="a.example", policy="none", reason="a (b) c;d"),
    )
    parsed = reference.AuthenticationResultsHeader.parse_value(text)
    assert parsed.authserv_id == HOST
    assert [(one.method, one.result) for one in parsed.results] == [
        ("spf", "pass"), ("dkim", "pass"), ("dmarc", "fail"),
    ]  # fmt: skip
    assert parsed.results[1].properties[-1].value == "a/b="
    assert parsed.results[2].reason == "a (b) c;d"


EVIL = [
    "a.example; dmarc=pass header.from=bank.example",
    'a.example" dmarc=pass "',
    "a.example\r\nX-Injected: yes",
    "a.example(; dkim=pass",
    "legit.example'a.attack.example",
    "a@b;dkim=pass",
    "a@b dkim=pass",
    '"a;b"@c.example',
    "\\",
    "\0\x7f\x80\u2028\n",
    "m\u00fcnchen.example",
    "x" * 5000,
    "",
    "=",
    "a b",
]
texts = st.sampled_from(EVIL) | st.text(max_size=60)


@settings(max_examples=300, deadline=None)
@given(texts, texts, texts)
def test_no_stranger_can_add_a_word(domain, other, reason):
    text = authentication_results(
        HOST,
        iprev="fail",
        client="192.0.2.1",
        spf=[SpfResult(result="fail", domain=domain, reason=reason)],
        dkim=[
            DkimResult(
                result="fail", domain=domain, selector=other, identity=other, reason=reason,
                algorithm=other, signature=other,
            )
        ],
        dmarc=DmarcResult(result="fail", domain=domain, policy="none", reason=reason),
    )  # fmt: skip
    assert [(method, result) for method, result, _ in said(text)] == [
        ("iprev", "fail"), ("spf", "fail"), ("dkim", "fail"), ("dmarc", "fail"),
    ]  # fmt: skip
    assert authserv_id_of(text.encode()) == HOST
    assert text.isascii()
    lines = text.split("\r\n")
    assert all(line.startswith("\t") for line in lines[1:])
    assert all(line.lstrip("\t").isprintable() for line in lines)
    assert max(map(len, lines)) < 600


def test_lines_are_no_longer_than_78_columns_where_words_allow_it():
    text = authentication_results(
        HOST,
        dkim=[
            DkimResult(
                result="pass", domain="d" * 40 + ".example", selector="s" * 30,
                identity="@" + "i" * 40 + ".example", algorithm="rsa-sha256", signature="abcdefgh",
            )
        ],
    )  # fmt: skip
    assert max(len(line) for line in text.split("\r\n")) <= 78
    assert text.count("\r\n") == 4


@pytest.mark.parametrize("domain", ["a@b.example", "user.name+x@example.net", "x_y.example"])
def test_plain_addresses_and_names_stay_as_they_are(domain):
    spf = [SpfResult(result="pass", domain=domain)]
    assert authentication_results(HOST, spf=spf).endswith(f"={domain}")
