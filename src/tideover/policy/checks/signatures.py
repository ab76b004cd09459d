"""What the checks dkim and arc have in common: both verify signatures over the whole message."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from tideover.dns.names import Names
from tideover.message.body import Body
from tideover.message.fields import HeaderSection
from tideover.policy.interface import NOTHING, About, Check, Result
from tideover.policy.services import Services

T_co = TypeVar("T_co", covariant=True)


class Verify(Protocol[T_co]):
    """Verifies; `now` is Unix time. Raises OSError when the body can't be read."""

    def __call__(
        self, header: HeaderSection, body: Body, names: Names, /, *, now: float
    ) -> Awaitable[T_co]:
        """What is found."""


def verifying(services: Services, verify: Verify[T_co], judge: Callable[[T_co], Result]) -> Check:
    """The check that says what `judge` makes of what `verify` finds."""
    names = services.names

    async def check(about: About) -> Result:
        message = about.message
        if message is None:
            return NOTHING
        try:
            found = await verify(message.header, message.body, names, now=about.now)
        except OSError as error:
            return Result(undecided=f"the copy of the message can't be read: {error}")
        return judge(found)

    return check
