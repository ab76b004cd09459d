"""The check dmarc: every author has to pass; trusted sealers are believed; doubt is no refusal."""

import base64

import msgspec
import pytest
from dns_asked import about, ended, found, services

from tideover.authentication.author import MAX_VALUE
from tideover.authentication.results import ArcResult, DkimResult, SpfResult
from tideover.config.policy import Policy
from tideover.message.envelope import QueueId
from tideover.message.fields import parse_header
from tideover.policy.body import Copies
from tideover.policy.checks import dmarc
from tideover.policy.interface import Message, Result, Stage
from tideover.testing.dns import FakeNames

RECORDS = {
    "_dmarc.reject.example": ["v=DMARC1; p=reject"],
    "_dmarc.doubt.example": ["v=DMARC1; p=quarantine"],
    "_dmarc.watch.example": ["v=DMARC1; p=none"],
    "_dmarc.broken.example": ["v=DMARC1; p=what"],
}
FORWARDER, LIST = "forwarder.example", "lists.example"
SAID = "mx.forwarder.example; dmarc=pass header.from=reject.example"


def message(head, tmp_path):
    copies = Copies(tmp_path)
    body = copies.new()
    text = head + b"Subject: x\r\n\r\nHello\r\n"
    assert body.write(text) is None
    return Message(
        queue_id=QueueId("q"), header=parse_header(text, whole=True), body=body, recipients=(),
        trace=b"",
    )  # fmt: skip


@pytest.fixture
def check(tmp_path):
    def run(author, *, spf=(), dkim=(), arc=None, results=None, sender="a@sender.example",
            sealers=(), names=None, head=b""):  # fmt: skip
        fields = head or b"From: " + author.encode() + b"\r\n"
        if arc is not None:
            fields = b"ARC-Seal: i=1; x\r\n" + fields
        given = {"spf": Result(detail=tuple(spf)), "dkim": Result(detail=tuple(dkim))}
        given |= {"arc": Result(detail=arc)} if arc is not None else {}
        given |= results or {}
        asked = msgspec.structs.replace(
            about(Stage.MESSAGE, sender=sender, results=given), message=message(fields, tmp_path)
        )
        made = dmarc.make(
            services(names or FakeNames(txt=RECORDS), policy=Policy(trusted_sealers=tuple(sealers)))
        )
        return ended(made(asked))

    return run


def signed(domain, result="pass"):
    return DkimResult(result=result, domain=domain, selector="s")


def sent(domain, result="pass", scope="mfrom"):
    return SpfResult(result=result, domain=domain, scope=scope)


@pytest.mark.parametrize(
    ("author", "name", "result"),
    [
        ("a@reject.example", "dmarc-reject", "fail"),
        ("a@doubt.example", "dmarc-quarantine", "fail"),
        ("a@watch.example", "dmarc-fail", "fail"),
        ("a@broken.example", "", "permerror"),
        ("a@elsewhere.example", "", "none"),
        ("nobody", "", "none"),
    ],
)
def test_what_fails_is_found_by_what_the_author_s_domain_asks_for(check, author, name, result):
    made = check(author, spf=[sent("sender.example")])
    assert found(made) == name
    assert made.evidence["result"] == made.detail.result == result


def test_the_reply_names_the_domain_and_nothing_else_of_the_message(check):
    (refused,) = check('"\r\n 250 ok" <a@reject.example>').found
    assert str(refused.reply) == (
        "550 5.7.26 DMARC: neither SPF nor DKIM speaks for reject.example, which asks to refuse "
        "such mail"
    )
    (doubted,) = check("a@doubt.example").found
    assert "asks to suspect" in str(doubted.reply)


def test_what_passes_is_fine(check):
    made = check("a@reject.example", spf=[sent("reject.example")], dkim=[signed("reject.example")])
    assert found(made) == ""
    assert made.evidence == {
        "result": "pass", "from": "reject.example", "record": "reject.example",
        "aligned": "spf dkim",
    }  # fmt: skip
    assert found(check("a@reject.example", dkim=[signed("mail.reject.example")])) == ""


# several authors: the paper "Composition Kills" and its tool


@pytest.mark.parametrize(
    "author",
    [
        "<a@watch.example>, <admin@reject.example>",
        "<admin@reject.example>, <a@watch.example>",
        "=?utf-8?B?"
        + base64.b64encode(b"<admin@reject.example>").decode()
        + "?=,<a@watch.example>",
        "<@watch.example,@any.example:admin@reject.example>",
        "<admin@reject.example>\\,<a@watch.example>",
        "admin@reject.example,<a@watch.example>",
        "<a@watch.example>admin@reject.example",
    ],
)
def test_several_authors_do_not_slip_past(check, author):
    made = check(author, spf=[sent("watch.example")], dkim=[signed("watch.example")])
    assert found(made) == "dmarc-reject"
    assert made.detail.domain == "reject.example"


@pytest.mark.parametrize(
    "head",
    [
        b"From: <a@watch.example>\r\nFrom: <admin@reject.example>\r\n",
        b" From: <a@watch.example>\r\nFrom: <admin@reject.example>\r\n",
        b"From: <a@watch.example>\r\nFrom : <admin@reject.example>\r\n",
        b"From\r\n : <a@watch.example>\r\nFrom: <admin@reject.example>\r\n",
        b"From: <a@watch.example>\r\nno field\r\nFrom: <admin@reject.example>\r\n",
    ],
)
def test_several_from_fields_do_not_slip_past(check, head):
    assert found(check("", head=head, dkim=[signed("watch.example")])) == "dmarc-reject"


def test_all_authors_pass_when_each_is_signed_for(check):
    made = check(
        "a@watch.example, b@reject.example",
        dkim=[signed("watch.example"), signed("reject.example")],
    )
    assert (found(made), made.detail.result) == ("", "pass")


@pytest.mark.parametrize(
    "author",
    [", ".join(f"a@d{n}.example" for n in range(20)), "a@watch.example" + " " * MAX_VALUE],
)
def test_who_hides_among_many_is_refused(check, author):
    made = check(author)
    assert found(made) == "dmarc-reject"
    assert "From field" in str(made.found[0].reply)
    assert made.detail.result == "fail"


def test_a_from_field_far_behind_a_broken_line_is_found(check):
    head = b"broken\r\n" + b"X: y\r\n" * 10_000 + b"From: a@reject.example\r\n"
    assert found(check("", head=head, dkim=[signed("watch.example")])) == "dmarc-reject"


def test_a_broken_header_without_end_names_no_author(check):
    made = check("", head=b"broken\r\n" + b"X: y\r\n" * 50_000)
    assert found(made) == "dmarc-reject"
    assert made.detail.result == "fail"


def test_a_signature_that_leaves_open_what_readers_see_proves_no_author(check):
    partly = msgspec.structs.replace(signed("reject.example"), reason="another subject above")
    assert found(check("a@reject.example", dkim=[partly])) == "dmarc-reject"


def test_too_many_authors_over_several_fields(check):
    head = b"".join(b"From: a@d%d.example\r\n" % n for n in range(20))
    assert found(check("", head=head)) == "dmarc-reject"


# doubt


@pytest.mark.parametrize(
    "given",
    [
        {"dkim": Result(undecided="out of time")},
        {"dkim": Result(undecided="DNS", detail=(signed("reject.example", "temperror"),))},
        {"dkim": Result(undecided="DNS", detail=(signed("m.reject.example", "temperror"),))},
        {"spf": Result(undecided="out of time")},
        {"spf": Result(undecided="DNS", detail=(sent("reject.example", "temperror"),))},
    ],
)
def test_i14_what_could_have_passed_makes_it_undecided(check, given):
    made = check("a@reject.example", results=given, sender="a@reject.example")
    assert found(made) == "undecided"
    assert made.detail.result == "temperror"


@pytest.mark.parametrize(
    "given",
    [
        {"dkim": Result(undecided="DNS", detail=(signed("other.example", "temperror"),))},
        {"spf": Result(undecided="out of time")},
        {"spf": Result(undecided="DNS", detail=(sent("sender.example", "temperror"),))},
    ],
)
def test_doubt_about_others_changes_nothing(check, given):
    assert found(check("a@reject.example", results=given)) == "dmarc-reject"


def test_checks_that_are_missing_make_it_undecided(tmp_path):
    for given in ({}, {"spf": Result()}, {"dkim": Result()}):
        asked = msgspec.structs.replace(
            about(Stage.MESSAGE, sender="a@reject.example", results=given),
            message=message(b"From: a@reject.example\r\n", tmp_path),
        )
        made = ended(dmarc.make(services(FakeNames(txt=RECORDS)))(asked))
        assert found(made) == "undecided"


def test_i14_dns_that_does_not_answer_refuses_nobody(check):
    names = FakeNames(txt=RECORDS, broken=["_dmarc.reject.example"])
    assert found(check("a@reject.example", names=names)) == "undecided"


def test_of_a_null_sender_the_helo_name_counts(check):
    helo = [sent("reject.example", scope="helo")]
    assert found(check("a@reject.example", spf=helo, sender="")) == ""
    assert found(check("a@reject.example", spf=helo)) == "dmarc-reject"


# trusted sealers


def arc(*sets, result="pass"):
    return ArcResult(
        result=result, instance=len(sets), sealers=tuple(sealer for sealer, _ in sets),
        assertions=tuple(said for _, said in sets),
    )  # fmt: skip


def test_a_trusted_sealer_is_believed(check):
    made = check("a@reject.example", arc=arc((FORWARDER, SAID)), sealers=[FORWARDER])
    assert found(made) == ""
    assert made.evidence["overridden"] == "ARC of forwarder.example"
    assert made.detail.result == "fail"


@pytest.mark.parametrize(
    ("chain", "sealers"),
    [
        (arc((FORWARDER, SAID)), []),
        (arc((FORWARDER, SAID)), ["other.example"]),
        (arc((FORWARDER, SAID), result="fail"), [FORWARDER]),
        (arc(result="none"), [FORWARDER]),
        (arc((FORWARDER, "mx; dmarc=fail header.from=reject.example")), [FORWARDER]),
        (arc((FORWARDER, "mx; dmarc=pass header.from=other.example")), [FORWARDER]),
        (arc((FORWARDER, "mx; dmarc=pass")), [FORWARDER]),
        (arc((FORWARDER, 'mx; spf=fail reason="; dmarc=pass header.from=reject.example"')),
         [FORWARDER]),
        (msgspec.structs.replace(arc((FORWARDER, SAID)), reason="another from stands above"),
         [FORWARDER]),
        # whoever seals after it may have put the set on another message
        (arc((FORWARDER, SAID), ("evil.example", SAID)), [FORWARDER]),
        (arc(("evil.example", SAID), (FORWARDER, "mx; arc=pass")), [FORWARDER]),
    ],
)  # fmt: skip
def test_others_are_not(check, chain, sealers):
    made = check("a@reject.example", arc=chain, sealers=sealers)
    assert found(made) == "dmarc-reject"
    assert "overridden" not in made.evidence


def test_a_trusted_list_behind_a_trusted_forwarder(check):
    chain = arc((FORWARDER, SAID), (LIST, "mx; dmarc=fail header.from=reject.example; arc=pass"))
    made = check("a@reject.example", arc=chain, sealers=[FORWARDER, LIST])
    assert made.evidence["overridden"] == "ARC of forwarder.example"


def test_i14_a_chain_that_dns_leaves_open_refuses_nobody(check):
    chain = arc((FORWARDER, SAID), result="temperror")
    assert found(check("a@reject.example", arc=chain, sealers=[FORWARDER])) == "undecided"
    assert found(check("a@reject.example", arc=chain, sealers=[LIST])) == "dmarc-reject"
    head = b"ARC-Seal: i=1; x\r\nFrom: a@reject.example\r\n"
    late = {"arc": Result(undecided="out of time")}
    assert found(check("", head=head, results=late, sealers=[LIST])) == "undecided"
    assert found(check("", head=head, results=late)) == "dmarc-reject"
    assert found(check("a@reject.example", results=late, sealers=[LIST])) == "dmarc-reject"


def test_a_message_that_passes_needs_no_sealer(check):
    made = check("a@reject.example", dkim=[signed("reject.example")], arc=arc(result="fail"))
    assert made.detail.result == "pass"


def test_a_message_with_many_authors_and_signers_costs_few_questions(check):
    # each signer is an organization of its own, so that none is aligned and all are looked at
    own = {f"_dmarc.own{n}.evil.example": ["v=DMARC1; p=none; psd=n"] for n in range(10)}
    names = FakeNames(txt={"_dmarc.evil.example": ["v=DMARC1; p=reject"], **own})
    authors = ", ".join(f"a@u{n}.b.c.d.e.f.evil.example" for n in range(8))
    signers = [signed(f"x.x.x.x.x.own{n}.evil.example") for n in range(10)]
    assert found(check(authors, dkim=signers, names=names)) == "dmarc-reject"
    assert len(names.asked) == len(set(names.asked)) < 100


@pytest.mark.parametrize("space", ["\u3000", "\xa0", "\u2003 \u2003", "\x85"])
def test_white_space_for_a_domain_hides_no_author(check, space):
    for other in (f"b@{space}", f"<b@{space}>", f'"b"@{space}.{space}'):
        assert found(check(f"a@reject.example, {other}")) == "dmarc-reject"
        assert found(check(f"{other}, a@reject.example")) == "dmarc-reject"
