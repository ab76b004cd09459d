"""Other verifiers of DKIM and ARC: dkimpy, npm's mailauth, Perl's Mail::DKIM. Each judges many
messages in one run, with a table for DNS; words are ours.
"""

import base64
import json
import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

import dkim
import pytest

ROOT = Path(__file__).resolve().parents[2]
MAILAUTH = ROOT / "build" / "peers" / "mailauth" / "node_modules" / "mailauth"

_NODE = """
const {authenticate} = require(process.argv[1] + '/lib/mailauth');
let text = '';
process.stdin.on('data', part => text += part).on('end', async () => {
  const {messages, txt} = JSON.parse(text);
  const resolver = async (name, type) => {
    name = name.toLowerCase();
    if (type === 'TXT' && txt[name]) return txt[name].map(record => [record]);
    const error = new Error('no such name'); error.code = 'ENOTFOUND'; throw error;
  };
  const out = [];
  const orStuck = work => Promise.race([work, new Promise((_, fail) =>
    setTimeout(() => fail(new Error('never ends')), 1000))]);
  for (const each of messages) {
    let found;
    try { found = await orStuck(authenticate(Buffer.from(each, 'base64'), {
      ip: '192.0.2.1', helo: 'x.example', sender: 'a@author.example', mta: 'mx.example', resolver,
      disableDmarc: true, disableBimi: true})); }
    catch (error) { out.push({arc: 'fail', dkim: ['fail'], reason: String(error)}); continue; }
    out.push({arc: found.arc.status.result, reason: found.arc.status.comment || '',
              dkim: found.dkim.results.map(result => result.status.result)});
  }
  console.log(JSON.stringify(out));
});
"""
_PERL = r"""
use strict; use warnings; use JSON::PP; use MIME::Base64;
use Mail::DKIM::Verifier; use Mail::DKIM::ARC::Verifier;
package Record; sub type { 'TXT' } sub txtdata { ${$_[0]} } sub char_str_list { ${$_[0]} }
package main;
local $/; my $in = decode_json(<STDIN>);
no warnings 'redefine';
*Mail::DKIM::DNS::query = sub {
  my $txt = $in->{txt}{lc $_[0]}; $@ = $txt ? '' : 'NXDOMAIN';
  return $txt ? map { my $text = $_; bless \$text, 'Record' } @$txt : ();
};
my @out;
for my $each (@{$in->{messages}}) {
  my %found;
  for my $kind ('dkim', 'arc') {
    my $judge = $kind eq 'arc' ? Mail::DKIM::ARC::Verifier->new(Strict => 1)
                               : Mail::DKIM::Verifier->new();
    eval { $judge->PRINT(decode_base64($each)); $judge->CLOSE; };
    $found{$kind} = $@ ? "died" : $judge->result // 'none';
    $found{reason} = $judge->result_detail if $kind eq 'arc' && !$@;
  }
  for my $kind ('dkim', 'arc') { $found{$kind} = 'fail' if $found{$kind} =~ /invalid|died/; }
  push @out, {arc => $found{arc}, dkim => [$found{dkim}], reason => $found{reason} // ''};
}
print encode_json(\@out);
"""


def _json(messages, txt):
    given = [base64.b64encode(message).decode() for message in messages]
    return json.dumps({"messages": given, "txt": txt}).encode()


def _run(command, messages, txt):
    done = subprocess.run(
        command, input=_json(messages, txt), capture_output=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])  # mailauth prints more


def by_mailauth(messages, txt):
    """Results as dicts of "arc", "dkim" (a list) and "reason"."""
    return _run(["node", "-e", _NODE, "--", str(MAILAUTH)], messages, txt)


def by_mail_dkim(messages, txt):
    """The same; "dkim" has the best result only."""
    with tempfile.NamedTemporaryFile("w", suffix=".pl") as script:
        script.write(_PERL)
        script.flush()
        return _run(["perl", script.name], messages, txt)


def by_dkimpy(messages, txt):
    """The same; "dkim" has the topmost signature only."""
    logging.getLogger("dkimpy").setLevel(logging.CRITICAL)

    def records(name, **_):
        found = txt.get(name.decode().removesuffix(".").lower())
        return found[0].encode() if found else None

    results = []
    for message in messages:
        try:
            state, _, why = dkim.arc_verify(message, dnsfunc=records)
        except Exception as error:
            state, why = b"fail", type(error).__name__
        try:
            right = dkim.verify(message, dnsfunc=records)
        except Exception:
            right = False
        arc = {None: "none", b"": "fail"}.get(state) or bytes(state).decode()
        results.append({"arc": arc, "dkim": ["pass" if right else "fail"], "reason": str(why)})
    return results


def _perl_missing():
    if shutil.which("perl") is None:
        return "not installed: perl"
    command = ["perl", "-MMail::DKIM::ARC::Verifier", "-MJSON::PP", "-e", "1"]
    done = subprocess.run(command, capture_output=True, check=False)
    return "not installed: Mail::DKIM (Debian: libmail-dkim-perl)" if done.returncode else None


def _mailauth_missing():
    if shutil.which("node") is None:
        return "not installed: node"
    return None if MAILAUTH.is_dir() else "mailauth is not in build/peers (see .ci/peers)"


_PERL_MISSING, _MAILAUTH_MISSING = _perl_missing(), _mailauth_missing()
JUDGES = [
    pytest.param(by_dkimpy, id="dkimpy"),
    pytest.param(by_mailauth, id="mailauth", marks=pytest.mark.skipif(
        _MAILAUTH_MISSING is not None, reason=_MAILAUTH_MISSING or "")),
    pytest.param(by_mail_dkim, id="mail-dkim", marks=pytest.mark.skipif(
        _PERL_MISSING is not None, reason=_PERL_MISSING or "")),
]  # fmt: skip
