"""DKIM signatures of the message. `detail` is a tuple of `DkimResult`, one for each."""

from collections.abc import Sequence

from tideover.authentication.dkim.verify import verify
from tideover.authentication.results import DkimResult
from tideover.policy.checks.signatures import verifying
from tideover.policy.interface import Check, Found, Result
from tideover.policy.services import Services

_SHOWN = 3  # signatures in the evidence
_LONGEST = 80  # of a domain there


def make(services: Services) -> Check:
    """The check."""
    return verifying(services, verify, _result)


def _result(results: Sequence[DkimResult]) -> Result:
    if not results:
        return Result(found=(Found(name="dkim-none"),), detail=(), evidence={"dkim": "none"})
    evidence = {"dkim": ", ".join(map(_shown, results[:_SHOWN]))}
    if len(results) > _SHOWN:
        evidence["more"] = str(len(results) - _SHOWN)
    found: tuple[Found, ...] = ()
    undecided = ""
    if not any(each.result == "pass" for each in results):
        unknown = [each for each in results if each.result == "temperror"]
        if unknown:
            undecided = unknown[0].reason
        else:
            found = (Found(name="dkim-fail", reason=_shown(results[0])),)
    return Result(found=found, evidence=evidence, undecided=undecided, detail=tuple(results))


def _shown(result: DkimResult) -> str:
    reason = f" ({result.reason})" if result.reason else ""
    return f"{result.result} {result.domain[:_LONGEST] or '?'}{reason}"
