"""Which domain has proved that it sends: for those who remember or count senders."""

from tideover.authentication.results import SpfResult
from tideover.authentication.spf import proves
from tideover.policy.interface import About


def proven_domain(about: About) -> str:
    """The sender's domain if SPF proves that this client may send for it, else ""."""
    spf = about.results.get("spf")
    said = spf.detail if spf is not None and isinstance(spf.detail, tuple) else ()
    proven = any(
        isinstance(one, SpfResult) and one.scope == "mfrom" and proves(one) for one in said
    )
    return about.sender_domain if proven else ""
