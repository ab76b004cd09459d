"""Return addresses that a domain's own servers sign (BATV, SRS), where its profile has the keys.

`prvs=TAG=user` is user's: it exists where user does. An SRS address belongs to nobody here, and
exists where its signature is right. Whether a bounce to either is one is for policy to say.
"""

from msgspec import Struct

from tideover.authentication.return_address import read_keys, signed_srs
from tideover.config.policy import Profile
from tideover.recipients.interface import Confidence, Finding, Verdict


class ReturnKeys(Struct, frozen=True):
    """The keys of a profile, the newest first. `trouble`: why they could not be read."""

    batv: tuple[bytes, ...] = ()
    srs: tuple[bytes, ...] = ()
    trouble: str = ""

    def owner(self, local: str) -> str:
        """The local part whose BATV address this is, or the local part itself."""
        if (self.batv or self.trouble) and local[:5].lower() == "prvs=":
            return local.split("=", 2)[-1]
        return local

    def judge(self, local: str, domain: str, now: float) -> Finding | None:
        """What can be said of an address because it is an SRS one, or None."""
        if local[:4].lower() not in ("srs0", "srs1"):
            return None
        if self.trouble:
            return Finding(verdict=Verdict.DEFER, domain=domain, reason=self.trouble)
        if not signed_srs(local, self.srs, now):
            return None
        return Finding(
            verdict=Verdict.ACCEPT,
            confidence=Confidence.HASHED,
            domain=domain,
            source="srs",
            reason="a return address that was signed here (SRS)",
        )


def return_keys(profile: Profile | None) -> ReturnKeys | None:
    """Read the keys of a profile; None when it has none. Blocks for as long as a small file takes.

    Keys are read when the configuration is: after a change of a file it has to be loaded anew.
    """
    if profile is None or (profile.batv_key_file is None and profile.srs_key_file is None):
        return None
    try:
        return ReturnKeys(
            batv=read_keys(profile.batv_key_file) if profile.batv_key_file else (),
            srs=read_keys(profile.srs_key_file) if profile.srs_key_file else (),
        )
    except (OSError, ValueError) as error:
        return ReturnKeys(trouble=f"keys of return addresses: {error}")
