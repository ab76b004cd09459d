"""The case classes of Mail::DKIM's corpus, by its names, and further rules of RFC 6376 §3.5, §3.6.1
and §6.1, RFC 8301 and RFC 8463.

The corpus can't be had here; these messages are made anew with our own keys and texts. Left out
are DomainKeys (dk_*) and drafts before RFC 4871 (ietf00), which are no DKIM.
"""

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tideover.testing.signing import (
    DOMAIN,
    KEY_NAME,
    dkim_signed,
    public_record,
    rsa_key,
)

NOW = 1.8e9
KEY = rsa_key()
OTHER = rsa_key(1152)
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEAD = (
    b"From: Anna <anna@signer.example>\r\nTo: otto@example.org\r\nSubject: A  question\r\n"
    b"Date: Sat, 21 Nov 2026 16:00:00 +0000\r\n"
)
BASE = HEAD + b"\r\nDear Otto,\r\nis this  a question?\r\n\r\nAnna\r\n"
WEAK = (
    "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIoDl4xTXG+zBI2/3vWCh2HyvZkBQP9dv4iFFvQ3Ql0"
    "NRqJrSAlAkHdyMDpyXbuqCBvMbgjjRHHVXx+HUUy0RckCAwEAAQ=="
)
EC = (
    "v=DKIM1; p="
    + b64encode(
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
)
LARGE = public_record(RSAPublicNumbers(65537, (1 << 4103) + 1).public_key())
SLOW = public_record(RSAPublicNumbers((1 << 33) + 1, (1 << 1023) + 1).public_key())


def signed(base=BASE, **tags):
    return dkim_signed(base, KEY, tags)


def replaced(message, old, new):
    assert old in message
    return message.replace(old, new, 1)


def altered(**tags):
    return replaced(signed(**tags), b"A  question", b"An answer")


TAGS = ("a", "b", "bh", "d", "h", "s")
DUP = b"Subject: first\r\n" + BASE

MESSAGES = [
    # right ones
    ("good_relaxed_relaxed", signed(), "pass"),
    ("good_simple_simple", signed(c="simple/simple"), "pass"),
    ("good_simple_relaxed", signed(c="simple/relaxed"), "pass"),
    ("good_relaxed_simple", signed(c="relaxed/simple"), "pass"),
    ("good_c_header_only", signed(c="relaxed"), "pass"),
    ("good_c_default", signed(c=None), "pass"),
    ("good_ed25519", dkim_signed(BASE, ED25519, {"s": "ed"}), "pass"),
    ("good_rfc4871_3", signed(z="From:anna|To:otto", x_extra="what ever"), "pass"),
    ("good_rfc4871_4", signed(d="SIGNER.Example"), "pass"),
    ("good_83176", signed(q="dns/txt:dns/special"), "pass"),
    ("good_q_default", signed(q="dns/txt"), "pass"),
    ("good_qp_1", signed(i="anna@signer.example"), "pass"),
    ("good_qp_2", signed(i="=61nna=20b@signer.example"), "pass"),
    ("good_qp_3", signed(i="anna=3Dx=40y@mail.signer.example"), "pass"),
    ("good_i_subdomain", signed(i="@mail.signer.example"), "pass"),
    ("good_folded_b", replaced(signed(), b"; b=", b"; b=\r\n\t"), "pass"),
    ("good_t_drift", signed(t=str(int(NOW) + 200)), "pass"),
    ("good_x_drift", signed(x=str(int(NOW) - 200)), "pass"),
    ("good_t_and_x", signed(t=str(int(NOW) - 50), x=str(int(NOW) + 50)), "pass"),
    ("good_oversigned", signed(h="from:from:to:subject:subject"), "pass"),
    ("good_case_of_names", replaced(signed(), b"Subject:", b"SUBJECT:"), "pass"),
    ("good_unknown_field", signed(h="from:x-nothing"), "pass"),
    ("good_second_subject", dkim_signed(DUP, KEY, {"h": "from:subject:subject"}), "pass"),
    ("good_field_added_above", b"Subject: added\r\n" + signed(), "pass"),
    ("good_l", signed(l="10"), "pass"),
    ("good_l_beyond_body", signed(l="4000"), "pass"),
    ("good_l_appended", signed(l="10") + b"more\r\n", "pass"),
    ("good_l_zero", signed(l="0"), "pass"),
    ("good_trailing_semicolon", signed(w="1;"), "pass"),
    ("good_empty_lines_at_end", signed() + b"\r\n\r\n", "pass"),
    # empty and missing bodies
    ("no_body_1", signed(HEAD + b"\r\n", c="simple/simple"), "pass"),
    ("no_body_2", signed(HEAD, c="simple/simple"), "pass"),
    ("no_body_3", signed(HEAD + b"\r\n", c="simple/simple") + b"\r\n", "pass"),
    ("no_body_relaxed", signed(HEAD + b"\r\n"), "pass"),
    # changed on the way
    ("bad_ietf01_1", replaced(signed(), b"Dear", b"Dearest"), "fail"),
    ("bad_ietf01_2", altered(), "fail"),
    ("bad_ietf01_3", dkim_signed(BASE, OTHER), "fail"),
    ("bad_1", signed(b="AAAA"), "fail"),
    ("bad_1878954", signed(b="AA=="), "fail"),
    ("bad_bh", signed(bh="2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="), "fail"),
    ("bad_simple_space", replaced(signed(c="simple/simple"), b"A  q", b"A q"), "fail"),
    ("bad_oversigned_added", b"Subject: x\r\n" + signed(h="from:subject:subject"), "fail"),
    ("bad_lowest_changed", replaced(dkim_signed(DUP, KEY), b"A  question", b"another"), "fail"),
    ("bad_body_cut_below_l", replaced(signed(l="40"), b"\r\n\r\nAnna", b""), "fail"),
    # not to be tried
    ("ignore_1", signed(v="5"), "neutral"),
    ("ignore_1_na", signed(v=None), "neutral"),
    ("ignore_2", signed(a="rsa-md5"), "neutral"),
    ("ignore_3", signed(a="dsa-sha1"), "neutral"),
    ("ignore_4", signed(c="future"), "neutral"),
    ("ignore_4_body", signed(c="relaxed/future"), "neutral"),
    ("ignore_5", signed(q="http"), "neutral"),
    ("ignore_6", signed(q="dns/special"), "neutral"),
    ("ignore_7", signed(x=str(int(NOW) - 301)), "policy"),
    ("ignore_8", signed(i="anna@other.example"), "permerror"),
    ("ignore_8_no_at", signed(i="anna"), "neutral"),
    ("ignore_8_suffix", signed(i="anna@notsigner.example"), "permerror"),
    ("ignore_8_qp", signed(i="=FFanna@signer.example"), "neutral"),
    ("ignore_sha1", signed(a="rsa-sha1"), "policy"),
    ("ignore_t_future", signed(t=str(int(NOW) + 301)), "policy"),
    ("ignore_t_text", signed(t="now"), "neutral"),
    ("ignore_x_before_t", signed(t=str(int(NOW)), x=str(int(NOW) - 10)), "permerror"),
    ("ignore_l_text", signed(l="10", c="relaxed/relaxed").replace(b"l=10", b"l=-1"), "neutral"),
    ("ignore_no_from", signed(h="to:subject"), "permerror"),
    ("ignore_d_invalid", signed(d="signer..example"), "neutral"),
    ("ignore_d_no_idn", signed(d="\u2488.example"), "neutral"),
    ("ignore_b_not_base64", signed(b="*"), "neutral"),
    ("ignore_duplicate_tag", signed(s="s1; s=s1"), "neutral"),
    ("ignore_empty_tag", signed(s="s1;"), "neutral"),
    ("ignore_tag_name", signed(**{"9x": "1"}), "neutral"),
    ("ignore_control", signed(w="\x01"), "neutral"),
    ("ignore_8bit", replaced(signed(), b"v=1", b"v=1; w=\xff"), "neutral"),
    ("ignore_long", signed(w="x" * 17_000), "neutral"),
    *((f"ignore_no_{tag}", signed(**{tag: None}), "neutral") for tag in TAGS),
]  # fmt: skip

P = public_record(KEY, before="")
KEYS = [
    ("goodkey_plain", [P], {}, "pass"),
    ("goodkey_1", [f"v=DKIM1; s=email; {P}"], {}, "pass"),
    ("goodkey_2", [f"v=DKIM1; h=sha1:sha256:x; s=email:web:fine; t=x; n==20; {P}"], {}, "pass"),
    ("goodkey_s_later", [f"v=DKIM1; s=web : email; {P}"], {}, "pass"),
    ("goodkey_s_star", [f"v=DKIM1; s=*; {P}"], {}, "pass"),
    ("goodkey_3", [f"v=DKIM1; g=jl*g; {P}"], {}, "pass"),
    ("goodkey_4", [f"v=DKIM1; {P}"], {}, "pass"),
    ("goodkey_folded", [f"v=DKIM1; {P[:40]} \t {P[40:]}"], {}, "pass"),
    ("goodkey_k_default", [P.replace("k=rsa; ", "")], {}, "pass"),
    ("goodkey_t_s", [f"v=DKIM1; t=s; {P}"], {"i": f"anna@{DOMAIN}"}, "pass"),
    ("goodkey_testing", [f"v=DKIM1; t=y:s; {P}"], {}, "pass"),
    ("goodkey_other_txt", ["v=spf1 -all", f"v=DKIM1; {P}"], {}, "pass"),
    ("goodkey_v_not_first", [f"{P}; v=DKIM1"], {}, "pass"),
    ("badkey_1", None, {}, "permerror"),
    ("badkey_1_nodata", [], {}, "permerror"),
    ("badkey_2", ["v=DKIM1; k=rsa; p="], {}, "permerror"),
    ("badkey_3", [f"v=DKIM2; {P}"], {}, "permerror"),
    ("badkey_4", [f"v=DKIM1; nonsense; {P}"], {}, "permerror"),
    ("badkey_4_twice", [f"v=DKIM1; {P}; {P}"], {}, "permerror"),
    ("badkey_5", ["v=DKIM1; k=foo; p=AAAA"], {}, "permerror"),
    ("badkey_6", [f"v=DKIM1; s=web; {P}"], {}, "permerror"),
    ("badkey_7", [f"v=DKIM1; h=foo; {P}"], {}, "permerror"),
    # RFC 6376 has no g=
    ("badkey_8", [f"v=DKIM1; g=nobody; {P}"], {"i": f"anna@{DOMAIN}"}, "pass"),
    ("badkey_9", [f"v=DKIM1; g=; {P}"], {}, "pass"),
    ("badkey_10", [f"v=DKIM1; t=s; {P}"], {"i": f"@mail.{DOMAIN}"}, "permerror"),
    ("badkey_11", [f"v=DKIM1; h=sha1; {P}"], {}, "permerror"),
    ("badkey_12", [f"v=DKIM1; g=ANNA; {P}"], {"i": f"anna@{DOMAIN}"}, "pass"),
    ("badkey_13", [f"v=DKIM1; g=anna; {P}"], {"i": f"other@{DOMAIN}"}, "pass"),
    ("badkey_no_p", ["v=DKIM1; k=rsa"], {}, "permerror"),
    ("badkey_not_base64", ["v=DKIM1; k=rsa; p=*"], {}, "permerror"),
    ("badkey_not_der", ["v=DKIM1; k=rsa; p=AAAA"], {}, "permerror"),
    ("badkey_weak", [WEAK], {}, "policy"),
    ("badkey_large", [LARGE], {}, "policy"),
    ("badkey_slow", [SLOW], {}, "policy"),
    ("badkey_other_der", [public_record(ED25519).replace("ed25519", "rsa")], {}, "permerror"),
    ("badkey_ec", [EC], {}, "permerror"),
    ("badkey_other_kind", [public_record(ED25519)], {}, "permerror"),
    ("badkey_ed25519_length", ["v=DKIM1; k=ed25519; p=AAAA"], {}, "permerror"),
    ("badkey_long", [f"v=DKIM1; n={'x' * 5000}; {P}"], {}, "permerror"),
    ("badkey_8bit", [b"v=DKIM1; n=\xff; " + P.encode()], {}, "permerror"),
]  # fmt: skip

TXT = {
    KEY_NAME: [public_record(KEY)],
    f"ed._domainkey.{DOMAIN}": [public_record(ED25519)],
}
