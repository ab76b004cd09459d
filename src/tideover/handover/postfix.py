"""For Postfix 3.4 and later: commands, as settings that are there already must stay.

With XCLIENT Postfix treats the mail as the client's own, so its restrictions judge the client
(XCLIENT_README). Without it (older mail, NOOP probes, bounces) the exemptions count.
"""

from typing import Final

from tideover.handover.interface import Handover, Part, Us

# A table's result that is a restriction (access(5)): it permits mail for the primary's own domains
# and nothing else, so we are no relay even when it stands before reject_unauth_destination.
_ACCESS: Final = "permit_auth_destination"

_SCRIPT: Final = """\
dir=$(postconf -h config_directory)
cat > "$dir/tideover.cidr" <<'END'
{access}
END
cat > "$dir/tideover_postscreen.cidr" <<'END'
{postscreen}
END
# a setting with a value before those that it has, unless it is there already
with() {{
    old=$(postconf -h "$1")
    case $old in
        *"$2"*) echo "$1 = $old" ;;
        *) echo "$1 = $2 $old" ;;
    esac
}}
us="cidr:$dir/tideover.cidr"
# In this order. We may say who the client was. No limits of connections and messages a minute.
# No tests of newcomers before the greeting. No greylisting, DNS lists, SPF and checks of senders;
# unknown recipients are still refused.
postconf -e \\
    "$(with smtpd_authorized_xclient_hosts "$us")" \\
    "$(with smtpd_authorized_xforward_hosts "$us")" \\
    "$(with smtpd_client_event_limit_exceptions "$us")" \\
    "$(with postscreen_access_list "cidr:$dir/tideover_postscreen.cidr")" \\
    "$(with smtpd_client_restrictions "check_client_access $us")" \\
    "$(with smtpd_helo_restrictions "check_client_access $us")" \\
    "$(with smtpd_sender_restrictions "check_client_access $us")" \\
    "$(with smtpd_recipient_restrictions "check_client_access $us")"
"""


def postfix(us: Us) -> Handover:
    """Tables and settings, put there by `postconf`."""
    script = _SCRIPT.format(
        access="\n".join(f"{address} {_ACCESS}" for address in us.addresses),
        postscreen="\n".join(f"{address} permit" for address in us.addresses),
    )
    return Handover(
        parts=(Part(file="", how="a shell at the primary, as root; again changes nothing",
                    text=script),),
        then=("postfix check && postfix reload",),
        notes=(
            (f"We take messages of up to {us.max_size} octets. Look at `postconf "
            "message_size_limit`: what is larger than that is refused when it comes home."),
            ("Milters (rspamd, OpenDKIM, OpenDMARC) judge mail by themselves: see `tideover "
            "handover rspamd`; OpenDMARC wants our addresses in IgnoreHosts."),
            "To undo: remove what names tideover.cidr and tideover_postscreen.cidr in main.cf.",
        ),
    )  # fmt: skip
