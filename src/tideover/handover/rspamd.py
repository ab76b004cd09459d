"""For rspamd: take the client from our Received field, and trust our ARC seal.

With XCLIENT the mail server tells rspamd the true client, and none of the rules here apply.
"""

from typing import Final

from tideover.handover.interface import Handover, Part, Us, listed

# the rule's name is the symbol that it sets
SYMBOL: Final = "TIDEOVER_RELAY"

_RELAY: Final = """\
enabled = true;
rules {{
  {symbol} {{
    # by the name that DNS gives our address, and it the name
    strategy = "hostname_map";
    hostname_map = ["{hostname}"];
    # rspamd 3.6 and later can do it by addresses; then instead of the two lines above:
    # strategy = "ip_map";
    # ip_map = [{addresses}];
  }}
}}
"""


def rspamd(us: Us) -> Handover:
    """Files of local.d."""
    addresses = listed(us.addresses, quote='"')
    texts = {
        "external_relay.conf": _RELAY.format(
            symbol=SYMBOL, hostname=us.hostname, addresses=addresses
        ),
        "greylist.conf": f'whitelisted_ip = [{addresses}];\nwhitelist_symbols = ["{SYMBOL}"];\n',
        "ratelimit.conf": f"whitelisted_ip = [{addresses}];\n",
    }
    if us.sealers:
        sealers = listed(us.sealers, quote='"')
        texts["arc.conf"] = f"whitelisted_signers_map = [{sealers}];\n"
    how = "add it; where a setting is there already, add the values to its list"
    missing = () if us.sealers else (
        ("No ARC seal is configured here ([arc], `tideover arc keygen`), so mail whose signature "
        "did not survive a detour fails DMARC although SPF was good when we took it."),
    )  # fmt: skip
    return Handover(
        parts=tuple(
            Part(file=f"/etc/rspamd/local.d/{name}", how=how, text=text)
            for name, text in texts.items()
        ),
        then=("rspamadm configtest && systemctl reload rspamd",),
        notes=(
            (
                f"DNS must name each of our addresses {us.hostname} (PTR), the mail server must "
                "look it up; in rspamd's history such mail has the symbol "
                f"{SYMBOL} and the client's address."
            ),
            *missing,
        ),
    )
