"""What the HTTP interface needs of the rest. `app` supplies it; tests supply fakes."""

from pathlib import Path
from typing import Protocol

from tideover.recipients.report import Refreshed


class Feeds(Protocol):
    """The part of the directory that takes feeds."""

    async def push(self, domain: str, file: Path) -> Refreshed:
        """Take a feed for a domain (A-labels). When this returns without a refusal, the feed is
        on the disk and in use; `file` is copied, and stays where it is.

        Raises:
            KeyError: the domain takes no pushed feed.
            SourceError: the feed is refused. The text is for its owner.
        """
        ...
