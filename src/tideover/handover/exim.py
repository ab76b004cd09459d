"""For Exim 4: a host list, an ACL entry, and XCLIENT where the program has it.

XCLIENT came with 4.97 and only when it is built with it; Debian 12 has 4.96. Exim has a macro for
each option that it knows, so the text fits both.
"""

from typing import Final

from tideover.handover.interface import Handover, Part, Us, listed

_MAIN: Final = """\
hostlist tideover_hosts = <; {addresses}
domainlist tideover_domains = {domains}
.ifdef _OPT_MAIN_HOSTS_XCLIENT
hosts_xclient = +tideover_hosts
.endif
"""
_ACL: Final = """\
  accept
    hosts = +tideover_hosts
    domains = +tideover_domains
    endpass
    message = unknown user
    verify = recipient
"""


def exim(us: Us) -> Handover:
    """The text for the main part, and the one for the ACL."""
    main = _MAIN.format(
        addresses=listed(us.addresses, joint=" ; "), domains=listed(us.domains, joint=" : ")
    )
    return Handover(
        parts=(
            Part(
                file="the main part of Exim's configuration (Debian, split: "
                "/etc/exim4/conf.d/main/00_local_tideover)",
                how="before the first `begin`",
                text=main,
            ),
            Part(
                file="the ACL that acl_smtp_rcpt names (Debian, split: acl_check_rcpt in "
                "/etc/exim4/conf.d/acl/30_exim4-config_check_rcpt)",
                how="right below its name, before all other entries",
                text=_ACL,
            ),
        ),
        then=(
            "update-exim4.conf   # Debian only",
            "exim4 -bV && systemctl reload exim4",
        ),
        notes=(
            (
                "The entry exempts us from greylisting, DNS lists, rate limits, checks of senders "
                "in that ACL; unknown recipients are still refused. Where you have such checks in "
                "the ACLs for connect, HELO or MAIL: begin them with `!hosts = +tideover_hosts`."
            ),
            (
                "smtp_accept_max_per_host, when it is set, counts us, too: give it "
                "${if match_ip{$sender_host_address}{+tideover_hosts}{0}{20}}."
            ),
            (
                "An Exim without XCLIENT knows the client from our Received field only: give "
                "SpamAssassin or rspamd behind it their part (`tideover handover spamassassin`)."
            ),
        ),
    )
