"""The case classes of the ARC validation suite (ValiMail's arc_test_suite), by its names.

Its messages can't be had here; these are made anew with our own keys and texts. Each is right but
for the one thing that its class is about: where that lies in a signed field, the field is signed
with it.
"""

import re

from tideover.testing.signing import (
    DOMAIN,
    KEY_NAME,
    arc_seal_field,
    arc_sealed,
    header_of,
    public_record,
    rsa_key,
)

KEY = rsa_key()
HEAD = (
    b"From: Anna <anna@author.example>\r\nTo: otto@example.org\r\nSubject: A  question\r\n"
    b"Date: Sat, 21 Nov 2026 16:00:00 +0000\r\nMIME-Version: 1.0\r\n"
)
BASE = HEAD + b"\r\nDear Otto,\r\nis this  a question?\r\n-- \r\nAnna\r\n"
# RSA of 512 bits, which no library makes any more
WEAK = (
    "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIoDl4xTXG+zBI2/3vWCh2HyvZkBQP9dv4iFFvQ3Ql0"
    "NRqJrSAlAkHdyMDpyXbuqCBvMbgjjRHHVXx+HUUy0RckCAwEAAQ=="
)


def one(**changes):
    return arc_sealed(BASE, KEY, 1, **changes)


def seal(**tags):
    return one(seal=tags)


def ams(**tags):
    return one(signature=tags)


def chain(length, base=BASE):
    for instance in range(1, length + 1):
        base = arc_sealed(base, KEY, instance)
    return base


def second(**tags):
    return arc_sealed(chain(1), KEY, 2, signature=tags)


def resealed(message, instance=1, **tags):
    """The message with a new seal in the place of the one with this instance."""
    fields = header_of(message).fields
    (old,) = (f for f in fields if f.key == b"arc-seal" and b"i=%d;" % instance in f.value)
    return message.replace(old.raw, arc_seal_field(message, KEY, instance, tags), 1)


def replaced(message, old, new, count=1):
    assert old in message
    return message.replace(old, new, count)


def without(message, name, instance=1):
    fields = header_of(message).fields
    (gone,) = (f for f in fields if f.key == name and b"i=%d;" % instance in f.value)
    return replaced(message, gone.raw, b"")


def twice(message, name):
    raw = header_of(message).first(name).raw
    return raw + message


def mod_b(message, name):
    """The message with another first character in the b= of the topmost such field."""
    old = header_of(message).first(name).raw
    at = old.index(b"; b=") + 4
    new = old[:at] + (b"B" if old[at : at + 1] == b"A" else b"A") + old[at + 1 :]
    return replaced(message, old, new)


def wsp_in(tag):
    def change(message, name):
        old = header_of(message).first(name).raw
        at = old.index(b"; %s=" % tag) + 12
        return replaced(message, old, old[:at] + b"\r\n\t " + old[at:])

    return change


def in_seal(message, old, new):
    raw = header_of(message).first(b"arc-seal").raw
    return replaced(message, raw, replaced(raw, old, new))


def signed_then(message, old, new):
    """Changed after the message signature was made, and sealed after that."""
    return resealed(replaced(message, old, new))


BH = re.search(rb"bh=([^;]+);", chain(1))[1].decode()
AMS = b"arc-message-signature"
BOTH = b"c=relaxed/relaxed"
NO_B = {"b": None}
H = "from:to:subject:date:mime-version"
DUP = b"Subject: first\r\n" + BASE

CASES = [
    # chain
    ("cv_empty", b"\r\n", "none"),
    ("cv_no_headers", b"\r\nDear Otto,\r\n", "none"),
    ("cv_no_body", HEAD, "none"),
    ("cv_base1", BASE, "none"),
    ("cv_base2", replaced(BASE, b"1.0", b"1.0\r\nContent-Type: text/html"), "none"),
    ("cv_pass_i1_1", chain(1), "pass"),
    ("cv_pass_i1_2", chain(1, HEAD + b"\r\nshort\r\n"), "pass"),
    ("cv_pass_i2_1", chain(2), "pass"),
    ("cv_pass_i2_2", chain(2, HEAD + b"\r\nshort\r\n"), "pass"),
    ("cv_pass_i2_1_ams1_invalid", arc_sealed(replaced(chain(1), b"A  q", b"A"), KEY, 2), "pass"),
    ("cv_pass_i3_1", chain(3), "pass"),
    ("cv_pass_i4_1", chain(4), "pass"),
    ("cv_pass_i5_1", chain(5), "pass"),
    ("cv_pass_i50", chain(50), "pass"),
    ("cv_fail_i51", arc_sealed(chain(50), KEY, 51), "fail"),
    ("cv_fail_i1_ams_na", without(chain(1), b"arc-message-signature"), "fail"),
    ("cv_fail_i1_ams_invalid", resealed(mod_b(chain(1), b"arc-message-signature")), "fail"),
    ("cv_fail_i1_as_na", without(chain(1), b"arc-seal"), "fail"),
    ("cv_fail_i1_as_pass", seal(cv="pass"), "fail"),
    ("cv_fail_i1_as_fail", seal(cv="fail"), "fail"),
    ("cv_fail_i1_as_invalid", mod_b(chain(1), b"arc-seal"), "fail"),
    ("cv_fail_i2_ams_na", without(chain(2), b"arc-message-signature", 2), "fail"),
    ("cv_fail_i2_ams_invalid", resealed(mod_b(chain(2), b"arc-message-signature"), 2), "fail"),
    ("cv_fail_i2_as1_na", without(chain(2), b"arc-seal", 1), "fail"),
    ("cv_fail_i2_as1_invalid", arc_sealed(mod_b(chain(1), b"arc-seal"), KEY, 2), "fail"),
    ("cv_fail_i2_as1_pass", arc_sealed(seal(cv="pass"), KEY, 2), "fail"),
    ("cv_fail_i2_as1_fail", arc_sealed(seal(cv="fail"), KEY, 2), "fail"),
    ("cv_fail_i2_as2_na", without(chain(2), b"arc-seal", 2), "fail"),
    ("cv_fail_i2_as2_invalid", mod_b(chain(2), b"arc-seal"), "fail"),
    ("cv_fail_i2_as2_none", arc_sealed(chain(1), KEY, 2, seal={"cv": "none"}), "fail"),
    ("cv_fail_i2_as2_fail", arc_sealed(chain(1), KEY, 2, seal={"cv": "fail"}), "fail"),
    ("cv_fail_i2_without_i1", arc_sealed(BASE, KEY, 2), "fail"),
    # ARC-Seal: format
    ("as_format_sc_wsp", seal(**{"cv": None, "cv ": " none "}, t="12345 "), "pass"),
    ("as_format_eq_wsp", seal(**{"cv": None, "cv  ": "  none"}), "pass"),
    ("as_format_tags_trail_sc", seal(w="1;"), "pass"),
    ("as_format_tags_unknown", seal(w="catparty"), "pass"),
    ("as_format_inv_tag_key", seal(_="1"), "fail"),
    ("as_format_tags_dup", seal(s="s1; s=s1"), "fail"),
    ("as_format_tags_key_case", seal(cv=None, CV="none"), "fail"),
    ("as_format_tags_val_case", seal(cv="None"), "fail"),
    ("as_format_tags_wsp", seal(**{"cv": None, "c v": "none"}), "fail"),
    ("as_format_tags_sc", seal(cv="none;"), "fail"),
    # ARC-Seal: i=
    ("as_fields_i_na", seal(i=None), "fail"),
    ("as_fields_i_empty", seal(i=""), "fail"),
    ("as_fields_i_zero", seal(i="0"), "fail"),
    ("as_fields_i_invalid", seal(i="a"), "fail"),
    ("as_fields_i_leading_zero", seal(i="01"), "fail"),
    ("as_fields_i_dup", arc_seal_field(chain(1), KEY, 1, {"t": "9"}) + chain(1), "fail"),
    ("as_fields_i_dup2", twice(chain(2), b"arc-seal"), "fail"),
    ("as_fields_i_missing", arc_sealed(chain(2), KEY, 4), "fail"),
    # ARC-Seal: a=
    ("as_fields_a_sha1", seal(a="rsa-sha1"), "fail"),
    ("as_fields_a_na", seal(a=None), "fail"),
    ("as_fields_a_empty", seal(a=""), "fail"),
    ("as_fields_a_unknown", seal(a="rsa-sha512"), "fail"),
    ("as_fields_a_ed25519", seal(a="ed25519-sha256"), "fail"),
    # ARC-Seal: b=
    ("as_fields_b_ignores_wsp", wsp_in(b"b")(chain(1), b"arc-seal"), "pass"),
    ("as_fields_b_512", seal(s="weak"), "fail"),
    ("as_fields_b_1024", chain(1), "pass"),
    ("as_fields_b_2048", arc_sealed(BASE, rsa_key(2048), 1, seal={"s": "large"},
                                    signature={"s": "large"}), "pass"),
    ("as_fields_b_head_case", replaced(chain(1), b"ARC-Seal:", b"aRC-SeAL:"), "pass"),
    ("as_fields_b_head_unfold", in_seal(chain(1), b"; cv", b";\r\n cv"), "pass"),
    ("as_fields_b_eol_wsp", in_seal(chain(1), b"\r\n", b" \t \r\n"), "pass"),
    ("as_fields_b_inl_wsp", in_seal(chain(1), b"; cv", b"; \t  cv"), "pass"),
    ("as_fields_b_col_wsp", replaced(chain(1), b"ARC-Seal:", b"ARC-Seal \t:  "), "pass"),
    ("as_fields_b_na", seal(**NO_B), "fail"),
    ("as_fields_b_empty", in_seal(seal(b="x"), b"b=x", b"b="), "fail"),
    ("as_fields_b_base64", seal(b="not_base_64"), "fail"),
    ("as_fields_b_mod_sig", mod_b(chain(1), b"arc-seal"), "fail"),
    ("as_fields_b_aar1", replaced(chain(1), b"spf=pass", b"spf=fail"), "fail"),
    ("as_fields_b_ams1", replaced(chain(1), b"ARC-Message-Signature: i=1;",
                                  b"ARC-Message-Signature: i=1; w=1;"), "fail"),
    ("as_fields_b_asb1", replaced(chain(2), b"t=12345", b"t=12346"), "fail"),
    # ARC-Seal: the other tags
    ("as_fields_cv_na", seal(cv=None), "fail"),
    ("as_fields_cv_empty", seal(cv=""), "fail"),
    ("as_fields_cv_invalid", seal(cv="maybe"), "fail"),
    ("as_fields_d_na", seal(d=None), "fail"),
    ("as_fields_d_empty", seal(d=""), "fail"),
    ("as_fields_d_invalid", seal(d="not a name"), "fail"),
    ("as_fields_s_na", seal(s=None), "fail"),
    ("as_fields_s_empty", seal(s=""), "fail"),
    ("as_fields_t_na", seal(t=None), "pass"),
    ("as_fields_t_empty", seal(t=""), "fail"),
    ("as_fields_t_invalid", seal(t="yesterday"), "fail"),
    ("as_fields_h", seal(h="from"), "fail"),
    # ARC-Message-Signature: format
    ("ams_format_sc_wsp", ams(**{"d": None, "d ": f" {DOMAIN} "}), "pass"),
    ("ams_format_eq_wsp", ams(**{"s": None, "s  ": "  s1"}), "pass"),
    ("ams_format_tags_trail_sc", ams(w="1;"), "pass"),
    ("ams_format_tags_unknown", ams(w="catparty"), "pass"),
    ("ams_format_inv_tag_key", ams(_="1"), "fail"),
    ("ams_format_tags_dup", ams(s="s1; s=s1"), "fail"),
    ("ams_format_tags_key_case", ams(s=None, S="s1"), "fail"),
    ("ams_format_tags_val_case", ams(a="RSA-SHA256"), "fail"),
    ("ams_format_tags_wsp", ams(**{"bh": None, "b h": "x"}), "fail"),
    ("ams_format_tags_sc", ams(s="s1;"), "fail"),
    # ARC-Message-Signature: tags
    ("ams_fields_i_na", ams(i=None), "fail"),
    ("ams_fields_i_empty", ams(i=""), "fail"),
    ("ams_fields_i_zero", ams(i="0"), "fail"),
    ("ams_fields_i_invalid", ams(i="a"), "fail"),
    ("ams_fields_i_dup", twice(chain(1), b"arc-message-signature"), "fail"),
    ("ams_fields_a_sha1", ams(a="rsa-sha1"), "fail"),
    ("ams_fields_a_na", ams(a=None), "fail"),
    ("ams_fields_a_empty", ams(a=""), "fail"),
    ("ams_fields_a_unknown", ams(a="rsa-sha512"), "fail"),
    ("ams_fields_a_ed25519", ams(a="ed25519-sha256"), "fail"),
    ("ams_fields_long", ams(w="x" * 17_000), "fail"),
    ("ams_fields_b_ignores_wsp", resealed(wsp_in(b"b")(chain(1), AMS)), "pass"),
    ("ams_fields_b_head_case", replaced(chain(1), b"Subject:", b"sUBJECT:"), "pass"),
    ("ams_fields_b_head_unfold", replaced(chain(1), b"A  question", b"A\r\n question"), "pass"),
    ("ams_fields_b_eol_wsp", replaced(chain(1), b"A  question", b"A question \t"), "pass"),
    ("ams_fields_b_inl_wsp", replaced(chain(1), b"A  question", b"A \t  question"), "pass"),
    ("ams_fields_b_col_wsp", replaced(chain(1), b"Subject:", b"Subject \t: "), "pass"),
    ("ams_fields_b_na", ams(**NO_B), "fail"),
    ("ams_fields_b_empty", signed_then(ams(b="x"), b"b=x", b"b="), "fail"),
    ("ams_fields_b_base64", ams(b="not_base_64"), "fail"),
    ("ams_fields_b_mod_sig", resealed(mod_b(chain(1), b"arc-message-signature")), "fail"),
    ("ams_fields_b_mod_headers1", replaced(chain(1), b"From: Anna", b"From: Ann"), "fail"),
    ("ams_fields_b_mod_headers2", replaced(chain(1), b"question\r\n", b"(mod)\r\n"), "fail"),
    ("ams_fields_bh_ignores_wsp", ams(bh=f"{BH[:9]} {BH[9:]}"), "pass"),
    ("ams_fields_bh_sim_base", ams(c="relaxed/simple"), "pass"),
    ("ams_fields_bh_sim_end_lines", ams(c="relaxed/simple") + b"\r\n\r\n", "pass"),
    ("ams_fields_bh_sim_inl_wsp", replaced(ams(c="relaxed/simple"), b"this  a", b"this a"), "fail"),
    ("ams_fields_bh_sim_eol_wsp", replaced(ams(c="relaxed/simple"), b"Otto,", b"Otto, "), "fail"),
    ("ams_fields_bh_rel_eol_wsp", replaced(chain(1), b"Otto,", b"Otto, \t"), "pass"),
    ("ams_fields_bh_rel_inl_wsp", replaced(chain(1), b"this  a", b"this \t a"), "pass"),
    ("ams_fields_bh_rel_end_lines", chain(1) + b"\r\n \r\n\r\n", "pass"),
    ("ams_fields_bh_rel_trail_crlf", chain(1).removesuffix(b"\r\n"), "pass"),
    ("ams_fields_bh_na", ams(bh=None), "fail"),
    ("ams_fields_bh_empty", ams(bh=" "), "fail"),
    ("ams_fields_bh_base64", ams(bh="not_base_64"), "fail"),
    ("ams_fields_bh_mod_sig", ams(bh="2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="), "fail"),
    ("ams_fields_bh_mod_body", replaced(chain(1), b"Dear Otto", b"Dear Ottilie"), "fail"),
    ("ams_fields_c_na", ams(c=None), "pass"),  # simple/simple, as RFC 6376 has it
    ("ams_fields_c_empty", ams(c=""), "fail"),
    ("ams_fields_c_ss", resealed(replaced(chain(1), BOTH, b"c=simple/simple")), "fail"),
    ("ams_fields_c_sr", resealed(replaced(chain(1), BOTH, b"c=simple/relaxed")), "fail"),
    ("ams_fields_c_rs", resealed(replaced(chain(1), BOTH, b"c=relaxed/simple")), "fail"),
    ("ams_fields_c_invalid", ams(c="invalid/relaxed"), "fail"),
    ("ams_fields_d_na", ams(d=None), "fail"),
    ("ams_fields_d_empty", ams(d=""), "fail"),
    ("ams_fields_d_invalid", ams(d="not a name"), "fail"),
    ("ams_fields_h_cws1", ams(h="from : to : subject"), "pass"),
    ("ams_fields_h_cws2", ams(h="from :to: \r\n\tsubject"), "pass"),
    ("ams_fields_h_case", ams(h="FROM:To:sUbject"), "pass"),
    ("ams_fields_h_dup1", arc_sealed(DUP, KEY, 1, signature={"h": "from:subject:subject"}), "pass"),
    ("ams_fields_h_dup2", replaced(arc_sealed(DUP, KEY, 1, signature={"h": "from:subject"}),
                                   b"A  question", b"another"), "fail"),
    ("ams_fields_h_dup_above", b"Subject: above\r\n" + ams(h="from:subject"), "pass"),
    ("ams_fields_h_non_existant", ams(h="from:nothing"), "pass"),
    ("ams_fields_h_non_existant_dup", ams(h="from:nothing:nothing"), "pass"),
    ("ams_fields_h_mis_hdr", ams(h="from::to"), "pass"),
    ("ams_fields_h_includes_ams", second(h=f"{H}:arc-message-signature"), "pass"),
    ("ams_fields_h_includes_own", ams(h=f"{H}:arc-message-signature"), "pass"),  # not its own then
    ("ams_fields_h_includes_aar", second(h=f"{H}:arc-authentication-results"), "pass"),
    ("ams_fields_h_includes_as", second(h=f"{H}:arc-seal"), "fail"),
    ("ams_fields_h_na", ams(h=None), "fail"),
    ("ams_fields_h_empty", ams(h=""), "fail"),  # the suite was written when From could be left out
    ("ams_fields_h_no_from", ams(h="to:subject"), "fail"),
    ("ams_fields_h_order", signed_then(ams(h="from:to"), b"h=from:to", b"h=to:from"), "fail"),
    ("ams_fields_h_empty_added", b"Cc: x@example.org\r\n" + ams(h="from:cc"), "fail"),
    ("ams_fields_s_na", ams(s=None), "fail"),
    ("ams_fields_s_empty", ams(s=""), "fail"),
    ("ams_fields_t_na", ams(t=None), "pass"),
    ("ams_fields_t_empty", ams(t=""), "fail"),
    ("ams_fields_t_invalid", ams(t="yesterday"), "fail"),
    # ARC-Authentication-Results
    ("aar_missing", without(chain(1), b"arc-authentication-results"), "fail"),
    ("aar_i_missing", one(results="mx.example; spf=pass"), "fail"),
    ("aar_i_wrong", one(results="i=2; mx.example; spf=pass"), "fail"),
    ("aar_i_not_prefixed", one(results="mx.example; i=1; spf=pass"), "fail"),
    ("aar_i_no_semi", one(results="i=1 mx.example; spf=pass"), "fail"),
    ("aar_i_wsp", one(results=" i = 1 ; mx.example; spf=pass"), "pass"),
    ("aar2_missing", without(chain(2), b"arc-authentication-results", 2), "fail"),
    ("aar_dup", twice(chain(1), b"arc-authentication-results"), "fail"),
    # keys
    ("public_key_na", seal(s="none"), "fail"),
    ("public_key_invalid", seal(s="bad"), "fail"),
    ("public_key_na_ams", ams(s="none"), "fail"),
    ("public_key_invalid_ams", ams(s="bad"), "fail"),
    # all of it
    ("arc_set_duplicate", chain(1)[: -len(BASE)] + chain(1), "fail"),
]  # fmt: skip

TXT = {
    KEY_NAME: [public_record(KEY)],
    f"large._domainkey.{DOMAIN}": [public_record(rsa_key(2048))],
    f"bad._domainkey.{DOMAIN}": ["v=DKIM1; k=rsa; p=bm90IGEga2V5"],
    f"weak._domainkey.{DOMAIN}": [WEAK],
}
