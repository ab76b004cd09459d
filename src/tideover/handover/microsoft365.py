"""For Exchange Online: PowerShell. It learns the true client from our Received field ("enhanced
filtering for connectors") and believes our ARC seal.

No address goes into the IP allow list: that would switch its spam filter off for all that comes
through us. Connectors know IPv4 only.
"""

from typing import Final

from tideover.handover.interface import Handover, Part, Us, listed

_CONNECTOR: Final = """\
New-InboundConnector -Name "Tideover {hostname}" -ConnectorType Partner `
  -SenderDomains "*" -SenderIPAddresses {addresses} `
  -RestrictDomainsToIPAddresses $false -RequireTls $false `
  -EFSkipLastIP $false -EFSkipIPs {addresses}
"""
_ARC: Final = """\
$sealers = @(Get-ArcConfig | Select-Object -ExpandProperty ArcTrustedSealers)
$sealers += {sealers}
Set-ArcConfig -Identity Default -ArcTrustedSealers $sealers
"""


def microsoft365(us: Us) -> Handover:
    """An inbound connector, and the trusted sealer."""
    texts = []
    notes = [
        (
            "-RestrictDomainsToIPAddresses stays $false: with $true the tenant refuses all mail "
            "that does not come through us."
        ),
        (
            "The tenant keeps its own MX record first; we are the last. Enhanced filtering needs "
            "an hour to begin."
        ),
    ]
    if us.ipv4:
        addresses = listed(us.ipv4)
        texts.append(_CONNECTOR.format(hostname=us.hostname, addresses=addresses))
    else:
        notes.append("Connectors know IPv4 only, and we have no such address: there is none.")
    if us.ipv6 and us.ipv4:
        notes.append("Connectors know IPv4 only: give outbound mail an IPv4 route to the tenant.")
    if us.sealers:
        texts.append(_ARC.format(sealers=listed(us.sealers, quote='"')))
    else:
        notes.append("No ARC seal is configured here: see [arc] and `tideover arc keygen`.")
    return Handover(
        parts=(
            Part(
                file="",
                how="PowerShell, after Connect-ExchangeOnline",
                text="\n".join(texts),
            ),
        ),
        then=("Get-InboundConnector | Format-List Name,SenderIPAddresses,EFSkipIPs",),
        notes=tuple(notes),
    )
