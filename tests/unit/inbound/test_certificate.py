import os

import pytest
import trustme

from tideover.events.records import CertificateLoaded, CertificateRejected
from tideover.inbound.tls import CertificateError, open_certificate


def made(tmp_path, **kwargs):
    events = []
    arguments = {"certificate": None, "key": None, "data_dir": tmp_path, "sink": events.append,
                 "hostname": "mx2.example.org"}  # fmt: skip
    return open_certificate(**(arguments | kwargs)), events


def test_a_self_made_certificate_is_made_once_and_kept_private(tmp_path):
    _, events = made(tmp_path)
    path = tmp_path / "tls" / "mx2.example.org.pem"
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert events[0].self_signed
    made(tmp_path)
    assert path.read_bytes() == before
    path.write_bytes(b"torn")
    made(tmp_path)
    assert b"CERTIFICATE" in path.read_bytes()


def write(path, name):
    certificate = trustme.CA().issue_cert(name)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    os.utime(path, ns=(0, hash(name) % 10**15))


def test_a_changed_file_is_loaded_and_a_broken_one_is_not(tmp_path):
    path = tmp_path / "cert.pem"
    write(path, "a.example")
    certificate, events = made(tmp_path, certificate=path)
    first = certificate.context
    certificate.refresh()
    assert certificate.context is first
    write(path, "b.example")
    certificate.refresh()
    second = certificate.context
    assert second is not first
    path.write_bytes(b"half a file")
    certificate.refresh()
    certificate.refresh()
    assert certificate.context is second
    assert [type(e) for e in events] == [CertificateLoaded, CertificateLoaded, CertificateRejected]


def test_a_certificate_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(CertificateError, match=r"none\.pem: No such file"):
        made(tmp_path, certificate=tmp_path / "none.pem")


def test_a_self_made_certificate_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tls").touch()
    with pytest.raises(CertificateError, match=r"mx2\.example\.org\.pem: "):
        made(tmp_path)
