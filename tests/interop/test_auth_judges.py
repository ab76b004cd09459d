"""DKIM and ARC beside other implementations: right seals and signatures pass with all of them, and
of the case classes in tests/conformance each judge differs from us only where it is known to.
"""

import asyncio
import time

import pytest
from auth_judges import JUDGES, by_dkimpy, by_mail_dkim, by_mailauth

import auth_arc_cases
import auth_dkim_cases
from tideover.authentication.arc.seal import Sealer, arc_seal
from tideover.authentication.arc.validate import arc_validate
from tideover.testing.dns import FakeNames
from tideover.testing.signing import (
    DOMAIN,
    KEY_NAME,
    arc_sealed,
    body_of,
    dkim_signed,
    header_of,
    public_record,
    rsa_key,
)

pytestmark = pytest.mark.interop

KEY = rsa_key(2048)
TXT = {KEY_NAME: [public_record(KEY)]}
SEALER = Sealer(domain=DOMAIN, selector="s1", key=KEY)
PLAIN = auth_dkim_cases.BASE
LONG = PLAIN + b"and so on \t and so on\r\n\r\n" * 3000
RESULTS = (
    "mx.signer.example; spf=pass smtp.mailfrom=anna@author.example; dkim=pass"
    " header.d=signer.example header.s=s1 header.b=AbCdEfGh; dmarc=pass (p=none)"
    " header.from=author.example; arc=none"
)


def sealed(message):
    async def seal():
        header, body = header_of(message), body_of(message)
        chain = await arc_validate(header, body, FakeNames(txt=TXT), now=time.time())
        return await arc_seal(
            header, body, SEALER, chain=chain, results=RESULTS, now=time.time() - 5
        )

    return asyncio.run(seal()) + message


@pytest.mark.parametrize("judge", JUDGES)
def test_our_seals_pass_and_signatures_below_them_still_do(judge):
    signed = dkim_signed(PLAIN, KEY)
    messages = [
        sealed(signed),
        sealed(sealed(sealed(signed))),
        sealed(arc_sealed(signed, KEY, 1)),
        sealed(dkim_signed(LONG, KEY)),
        b"Received: from a by b; Sat, 21 Nov 2026 16:00:00 +0000\r\n"
        b"Authentication-Results: mx.signer.example; spf=pass\r\n" + sealed(signed),
    ]
    for found in judge(messages, TXT):
        assert (found["arc"], found["dkim"][0]) == ("pass", "pass"), found["reason"]


@pytest.mark.parametrize("judge", JUDGES)
def test_our_seal_of_a_broken_chain_is_no_pass(judge):
    broken = arc_sealed(PLAIN, KEY, 1).replace(b"Dear", b"Hello")
    (found,) = judge([sealed(broken)], TXT)
    assert found["arc"] != "pass"


ARC_DIFFERS = {
    # none instead of fail where a seal says cv=fail; i=01 is taken;
    # no space before a field's colon; RFC 8617 has the defaults and rules of RFC 6376 for c= and h=
    by_dkimpy: """cv_fail_i1_as_fail cv_fail_i2_as1_fail cv_fail_i2_as2_fail
        as_fields_i_leading_zero as_fields_b_col_wsp ams_fields_b_col_wsp ams_fields_c_na
        ams_fields_h_includes_own ams_fields_h_empty ams_fields_h_no_from ams_fields_long
        aar_i_not_prefixed""",
    # by its own choice lenient with the syntax of tags (its "strict" is not in this version)
    by_mailauth: """as_format_inv_tag_key as_format_tags_dup as_format_tags_key_case
        as_format_tags_val_case as_format_tags_sc as_fields_i_leading_zero as_fields_a_ed25519
        as_fields_t_empty as_fields_t_invalid ams_format_inv_tag_key ams_format_tags_dup
        ams_format_tags_key_case ams_format_tags_val_case ams_format_tags_sc ams_fields_c_na
        ams_fields_c_empty ams_fields_h_includes_own ams_fields_h_empty ams_fields_h_no_from
        ams_fields_t_empty ams_fields_t_invalid ams_fields_long aar_i_not_prefixed""",
    # lenient with values of tags, h= and the form of ARC-Authentication-Results
    by_mail_dkim: """as_fields_i_leading_zero as_fields_b_col_wsp as_fields_t_empty
        as_fields_t_invalid as_fields_h ams_format_tags_val_case ams_fields_c_empty
        ams_fields_h_includes_own ams_fields_h_na ams_fields_h_empty ams_fields_h_no_from
        ams_fields_t_empty ams_fields_t_invalid aar_i_missing aar_i_wrong aar_i_not_prefixed
        ams_fields_long aar_i_wsp""",
}
DKIM_DIFFERS = {
    # no list in q=, a clock of its own, x= not looked at, lenient with h= and odd characters
    by_dkimpy: """good_83176 good_t_drift good_t_and_x ignore_7 ignore_8_qp ignore_no_from
        ignore_control ignore_long""",
    # i=, v=, q=, t= and x= not looked at; no l=0, no message without a body
    by_mailauth: """good_l_zero no_body_2 ignore_1 ignore_1_na ignore_5 ignore_6 ignore_7 ignore_8
        ignore_8_no_at ignore_8_suffix ignore_8_qp ignore_t_future ignore_t_text ignore_no_from
        ignore_duplicate_tag ignore_empty_tag ignore_tag_name ignore_control ignore_long""",
    # Debian's can't do Ed25519; t= and odd syntax not looked at, bh= and h= may be missing
    by_mail_dkim: """good_ed25519 good_l_zero ignore_1_na ignore_7 ignore_8_qp ignore_t_future
        ignore_t_text ignore_x_before_t ignore_no_from ignore_duplicate_tag ignore_empty_tag
        ignore_tag_name ignore_control ignore_long ignore_no_bh ignore_no_h""",
}


@pytest.mark.parametrize("judge", JUDGES)
def test_arc_cases_are_judged_alike_but_for_known_ones(judge):
    # long chains take Mail::DKIM ten seconds
    cases = [case for case in auth_arc_cases.CASES if not case[0].endswith(("_i50", "_i51"))]
    found = judge([message for _, message, _ in cases], auth_arc_cases.TXT)
    differ = {
        name
        for (name, _, expected), theirs in zip(cases, found, strict=True)
        if theirs["arc"] != expected
    }
    assert differ == set(ARC_DIFFERS[judge].split())


@pytest.mark.parametrize("judge", JUDGES)
def test_dkim_cases_are_judged_alike_but_for_known_ones(judge):
    cases = auth_dkim_cases.MESSAGES  # made for a time that lies ahead
    found = judge([message for _, message, _ in cases], auth_dkim_cases.TXT)
    differ = {
        name
        for (name, _, expected), theirs in zip(cases, found, strict=True)
        if (theirs["dkim"][:1] == ["pass"]) != (expected == "pass")
    }
    assert differ == set(DKIM_DIFFERS[judge].split())
