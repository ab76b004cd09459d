"""Key files of seals, and what goes into DNS."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tideover.authentication.arc import sealing_key
from tideover.authentication.arc.sealing_key import (
    SealKeyError,
    key_record,
    load_key,
    make_key,
    zone_lines,
)
from tideover.authentication.dkim.key import parse_key
from tideover.testing.signing import rsa_key


def written(path, octets, mode=0o600):
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def test_a_key_that_was_made_is_for_its_owner_and_can_be_loaded(tmp_path):
    path = tmp_path / "key.pem"
    mask = os.umask(0)
    try:
        key = make_key(path, 1024)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).private_numbers() == key.private_numbers()
    record = parse_key(key_record(key).encode())
    assert record.key.public_numbers() == key.public_key().public_numbers()


def test_what_is_there_stays(tmp_path):
    path = written(tmp_path / "key.pem", b"mine")
    with pytest.raises(SealKeyError, match="is there already"):
        make_key(path, 1024)
    assert path.read_bytes() == b"mine"


def test_a_key_that_can_not_be_written(tmp_path):
    with pytest.raises(SealKeyError, match="can't be made"):
        make_key(tmp_path / "no" / "key.pem", 1024)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys_of_openssl(tmp_path, form):
    assert load_key(written(tmp_path / "k", pem(rsa_key(), form), 0o640)).key_size == 1024


@pytest.mark.parametrize(
    ("octets", "mode", "text"),
    [
        (b"nonsense", 0o600, "not a key"),
        (b"", 0o600, "not a key"),
        (pem(rsa_key(), encryption=BestAvailableEncryption(b"x")), 0o600, "without a password"),
        (pem(Ed25519PrivateKey.generate()), 0o600, "need an RSA key"),
        (pem(rsa_key()), 0o644, "anyone can use it"),
    ],
)
def test_what_is_no_key_for_seals(tmp_path, octets, mode, text):
    path = written(tmp_path / "key.pem", octets, mode)
    with pytest.raises(SealKeyError, match=text) as caught:
        load_key(path)
    assert str(path) in str(caught.value)


def test_a_key_of_a_size_that_verifiers_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing_key, "MAX_BITS", 1023)  # larger keys take seconds to make
    with pytest.raises(SealKeyError, match="1024 bits, which verifiers refuse"):
        load_key(written(tmp_path / "key.pem", pem(rsa_key())))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SealKeyError, match="No such file"):
        load_key(tmp_path / "key.pem")


def test_zone_text_is_cut_into_strings_that_dns_can_hold():
    lines = zone_lines("s._domainkey.example.com", "x" * 600)
    assert lines[0] == "s._domainkey.example.com. IN TXT ("
    assert [len(line.strip()) - 2 for line in lines[1:-1]] == [255, 255, 90]
