"""What the four kinds of authentication found, as values. Words are those of RFC 8601 §2.7."""

from msgspec import Struct


class SpfResult(Struct, frozen=True, kw_only=True):
    """One SPF evaluation (RFC 7208).

    `result` is pass, fail, softfail, neutral, none, temperror or permerror; `scope` "mfrom" or
    "helo"; `domain` the domain that was checked; `mechanism` the one that matched, as written
    without its qualifier ("" for none); `trail` that and what matched in the records it includes
    or redirects to, the outermost first: a pass by "all" proves nothing about anybody, see
    `spf.proves`. `explanation` is the domain's own text for a fail, made harmless, or "".
    """

    result: str
    domain: str
    scope: str = "mfrom"
    mechanism: str = ""
    trail: tuple[str, ...] = ()
    explanation: str = ""
    reason: str = ""


class DkimResult(Struct, frozen=True, kw_only=True):
    """One DKIM signature (RFC 6376, RFC 8463).

    `result` is pass, fail, neutral, policy, temperror or permerror; `domain` is d=, `selector` s=,
    `identity` i= (its domain at least), `algorithm` a=; `signature` the beginning of b= (RFC 6008).
    `testing`: the key says t=y, so a pass proves nothing (RFC 6376 §3.6.1). A pass has a `reason`
    where there is something to be said against it: the body goes on after l= (§8.2), or a field
    stands above the signed one of its name (§8.15).
    """

    result: str
    domain: str
    selector: str
    identity: str = ""
    algorithm: str = ""
    signature: str = ""
    testing: bool = False
    reason: str = ""

    @property
    def speaks(self) -> bool:
        """Whether the domain vouches for the message as readers see it."""
        return self.result == "pass" and not self.testing and not self.reason


class ArcResult(Struct, frozen=True, kw_only=True):
    """The ARC chain of a message (RFC 8617 §5.2).

    `result` is none, pass, fail, or temperror when DNS did not answer; `instance` the highest i=
    (0: none); `sealers` the d= of the seals, oldest first; `assertions` the text of each
    ARC-Authentication-Results after its "i=N;", oldest first.
    """

    result: str
    instance: int = 0
    sealers: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    reason: str = ""


class DmarcResult(Struct, frozen=True, kw_only=True):
    """DMARC of a message (RFC 9989).

    `result` is pass, fail, none, temperror or permerror; `domain` the author's (From);
    `record_domain` where the policy was found, "" for none; `policy` what it asks for this
    message: none, quarantine or reject; `aligned_by` says what made it pass: "spf", "dkim" or
    both with a space between.
    """

    result: str
    domain: str = ""
    record_domain: str = ""
    policy: str = "none"
    aligned_by: str = ""
    reason: str = ""
