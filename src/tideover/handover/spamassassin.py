"""For SpamAssassin: our Received field can be trusted, and we are an MX of the domain.

`trusted_networks`: what we say of the client is believed. `internal_networks`: the client is the
one that handed over to the domain's MX, so that DNS lists and SPF look at it and not at us
(Mail::SpamAssassin::Conf).
"""

from tideover.handover.interface import Handover, Part, Us, listed


def spamassassin(us: Us) -> Handover:
    """Lines of local.cf."""
    addresses = listed(us.addresses, joint=" ")
    lines = [f"trusted_networks {addresses}", f"internal_networks {addresses}"]
    if us.sealers:
        lines += [
            "ifplugin Mail::SpamAssassin::Plugin::ARC",
            f"arc_trusted_sealers {listed(us.sealers, joint=' ')}",
            "endif",
        ]
    return Handover(
        parts=(
            Part(
                file="/etc/spamassassin/local.cf",
                how="add it; the networks add up with those that are there",
                text="\n".join(lines) + "\n",
            ),
        ),
        then=("spamassassin --lint && systemctl restart spamd",),
        notes=(
            (
                "As soon as there is one such line SpamAssassin stops guessing: have your own mail "
                "servers and networks there, too."
            ),
            "The service is called spamassassin.service in Debian 11 and Ubuntu 22.04.",
        ),
    )
