"""Measures DKIM and ARC: how many signatures are verified and made in a second.

One process; keys come from a cache, as they do where mail is busy. Exit code 1: a number misses
what was promised: 3,000 verifications a second of 4 KiB, RSA-2048, on one core.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console

from tideover.authentication.arc.seal import Sealer, arc_seal
from tideover.authentication.arc.validate import arc_validate
from tideover.authentication.dkim.verify import verify
from tideover.authentication.results import ArcResult
from tideover.testing import signing
from tideover.testing.dns import FakeNames

PROMISED = 3000
NAMES = "from:to:subject:date:message-id:mime-version:content-type"
LINE = b"The quick brown fox  jumps over the lazy dog, and then it sits down to rest. \r\n"


def message(size: int) -> bytes:
    """A message as they come, of about this size."""
    head = b"".join(
        (
            *(
                b"Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n"
                b"\tby mail.example.org with ESMTPS (TLS1.3) id 4F%d;\r\n"
                b"\tSat, 21 Nov 2026 16:00:0%d +0000\r\n" % (n, n, n, n, n)
                for n in range(3)
            ),
            b"From: Anna Example <anna@signer.example>\r\n",
            b"To: Otto Example <otto@example.org>, Mia Example <mia@example.org>\r\n",
            b"Subject: The  minutes of our meeting\r\n",
            b"Date: Sat, 21 Nov 2026 16:00:00 +0000\r\n",
            b"Message-ID: <20261121160000.4711@signer.example>\r\n",
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        )
    )
    return head + LINE * ((size - len(head)) // len(LINE))


async def rate(once: Any, seconds: float) -> dict[str, float]:
    """How often it can be done, in wall-clock time and in CPU time of all threads."""
    await once()
    count, begin, cpu = 0, time.perf_counter(), time.process_time()
    while (took := time.perf_counter() - begin) < seconds:
        await once()
        count += 1
    spent = time.process_time() - cpu
    return {"per_s": round(count / took), "per_cpu_s": round(count / spent)}


async def measured(seconds: float) -> dict[str, Any]:
    """All numbers, each measured for so long."""
    rsa = generate_private_key(public_exponent=65537, key_size=2048)
    ed25519 = Ed25519PrivateKey.generate()
    sealer = Sealer(domain=signing.DOMAIN, selector=signing.SELECTOR, key=rsa)
    now = time.time()
    result: dict[str, Any] = {}
    for kind, key in (("rsa2048", rsa), ("ed25519", ed25519)):
        names = FakeNames(txt={signing.KEY_NAME: [signing.public_record(key)]})
        for size in (4, 64, 1000):
            whole = signing.dkim_signed(message(size * 1024), key, {"h": NAMES})
            header, body = signing.header_of(whole), signing.body_of(whole)

            async def once(header: Any = header, body: Any = body, names: Any = names) -> None:
                (found,) = await verify(header, body, names, now=now)
                assert found.result == "pass", found

            result[f"verify_{kind}_{size}k"] = await rate(once, seconds)
    plain = message(4096)
    header, body = signing.header_of(plain), signing.body_of(plain)
    none = ArcResult(result="none")

    async def seal() -> bytes:
        return await arc_seal(header, body, sealer, chain=none, results="mx.example", now=now)

    result["seal_rsa2048_4k"] = await rate(seal, seconds)
    sealed = await seal() + plain
    names = FakeNames(txt={signing.KEY_NAME: [signing.public_record(rsa)]})
    sealed_header, sealed_body = signing.header_of(sealed), signing.body_of(sealed)

    async def validate() -> None:
        assert (await arc_validate(sealed_header, sealed_body, names, now=now)).result == "pass"

    result["validate_one_set_4k"] = await rate(validate, seconds)
    return result


def measure(seconds: float = 2.0) -> dict[str, Any]:
    """The numbers, each measured for so long: rates by name."""
    return uvloop.run(measured(seconds))


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of a second each")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    options = parser.parse_args()
    data = measure(0.25 if options.quick else 2.0)
    console = Console(width=100)
    for name, rates in data.items():
        console.print(f"{name:24} {rates['per_s']:>8,}/s {rates['per_cpu_s']:>8,}/CPU s")
    if options.out:
        options.out.write_text(json.dumps(data, indent=1) + "\n")
    if data["verify_rsa2048_4k"]["per_cpu_s"] < PROMISED:
        console.print(f"MISSED: {PROMISED:,} verifications a second", style="bold red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
