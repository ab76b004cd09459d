"""The ARC chain of the message. `detail` is an `ArcResult`."""

from tideover.authentication.arc.validate import arc_validate
from tideover.authentication.results import ArcResult
from tideover.policy.checks.signatures import verifying
from tideover.policy.interface import Check, Found, Result
from tideover.policy.services import Services

_SHOWN = 3  # sealers in the evidence, the newest
_LONGEST = 80  # of a domain there


def make(services: Services) -> Check:
    """The check."""
    return verifying(services, arc_validate, _result)


def _result(chain: ArcResult) -> Result:
    evidence = {"arc": chain.result}
    if chain.instance:
        evidence["instance"] = str(chain.instance)
    if chain.sealers:
        evidence["sealers"] = " ".join(sealer[:_LONGEST] for sealer in chain.sealers[-_SHOWN:])
    if chain.reason:
        evidence["reason"] = chain.reason[-2 * _LONGEST :]
    found = (Found(name="arc-fail", reason=chain.reason),) if chain.result == "fail" else ()
    undecided = chain.reason if chain.result == "temperror" else ""
    return Result(found=found, evidence=evidence, undecided=undecided, detail=chain)
