"""For OpenSMTPD 6.6 and later, which knows neither XCLIENT nor limits a client."""

from typing import Final

from tideover.handover.interface import Handover, Part, Us, listed

_TABLES: Final = """\
table tideover {{ {addresses} }}
table tideover_domains {{ {domains} }}
filter "tideover" phase connect match src <tideover> bypass
"""
_MATCH: Final = 'match from src <tideover> for domain <tideover_domains> action "local"\n'


def opensmtpd(us: Us) -> Handover:
    """Tables, a filter and a rule."""
    tables = _TABLES.format(
        addresses=listed(us.addresses, quote='"'), domains=listed(us.domains, quote='"')
    )
    return Handover(
        parts=(
            Part(file="/etc/smtpd.conf", how="before the first `listen`", text=tables),
            Part(
                file="/etc/smtpd.conf",
                how='before all other `match` lines; instead of "local" your action for the domain',
                text=_MATCH,
            ),
        ),
        then=("smtpd -n && systemctl restart opensmtpd",),
        notes=(
            ('Where listeners have filters: put "tideover" first, as in `listen on all filter { '
            '"tideover", "rdns" }`; then those of the connect phase let us pass.'),
            (f"We take messages of up to {us.max_size} octets, OpenSMTPD by default of 35 MB: see "
            "`smtp max-message-size`."),
            "There is no XCLIENT: filters see the client in our Received field only.",
        ),
    )  # fmt: skip
