"""For Stalwart. Its settings moved from TOML (to 0.15) to objects that the web interface edits.

It has neither XCLIENT nor a list of trusted ARC sealers, so what remains is not to be judged by
our address.
"""

from typing import Final

from tideover.handover.interface import Handover, Part, Us, listed

_TOML: Final = """\
[server.allowed-ip]
{allowed}

[auth.spf.verify]
ehlo = [ {{ if = "{ours}", then = "disable" }},
         {{ if = "local_port == 25", then = "relaxed" }}, {{ else = "disable" }} ]
mail-from = [ {{ if = "{ours}", then = "disable" }},
              {{ if = "local_port == 25", then = "relaxed" }}, {{ else = "disable" }} ]

[auth.iprev]
verify = [ {{ if = "{ours}", then = "disable" }},
           {{ if = "local_port == 25", then = "relaxed" }}, {{ else = "disable" }} ]
"""


def stalwart(us: Us) -> Handover:
    """The TOML of old releases; the same in words for newer ones."""
    ours = " || ".join(f"remote_ip == '{address}'" for address in us.addresses)
    allowed = "\n".join(f'"{address}" = ""' for address in us.addresses)
    return Handover(
        parts=(
            Part(
                file="config.toml of Stalwart up to 0.15",
                how="add it, and the keys to config.local-keys; or use the web interface",
                text=_TOML.format(allowed=allowed, ours=ours),
            ),
        ),
        then=("stalwart-cli server reload-config",),
        notes=(
            (
                "Stalwart 0.16 and later, in the web interface: Settings > Security > Allowed IPs: "
                f"{listed(us.addresses)}. Settings > MTA > Inbound > Sender Authentication: SPF "
                f'EHLO, SPF MAIL FROM and reverse IP: if "{ours}" then "disable", before others.'
            ),
            "DMARC then rests on the author's DKIM signature, which we leave as it is.",
            "Inbound throttles, when there are any by remote_ip, want the same condition.",
        ),
    )
