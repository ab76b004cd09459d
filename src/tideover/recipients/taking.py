"""What becomes of a load: it passes the guard, is kept as the last good copy, is used, is told.

Order of effects: kept first, then used. `check` and `keep` may run in a thread; `use` and what
follows run on the event loop.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from tideover.events.event import EventSink
from tideover.events.recipient_records import RecipientsFailed, RecipientsLoaded
from tideover.recipients.copies import Copies
from tideover.recipients.guard import Passed, passed
from tideover.recipients.listing import Listing
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.report import Refreshed
from tideover.recipients.sources.interface import Load

LONGEST_RETRY = 3600.0


class Prepared(Struct, frozen=True):
    """A load that has met the guard."""

    load: Load
    checked: Passed


def check(
    source: LoadedSource,
    load: Load,
    *,
    confirmed: bool = False,
    before: Mapping[str, Listing] | None = None,
) -> Prepared:
    """Hold the new lists against the old ones. `confirmed`: an operator knows that they shrank.
    `before`: those of the last good copy, where none are in use yet.
    """
    shrink = source.settings.max_shrink
    before = source.lists if source.lists is not None else before
    checked = passed(before or {}, load.lists, max_shrink=shrink, confirmed=confirmed)
    return Prepared(load, checked)


class Taking:
    """Takes loads and failures. `changed` is told each source of which something is new."""

    def __init__(
        self, copies: Copies, sink: EventSink, changed: Callable[[LoadedSource], None]
    ) -> None:
        self.copies = copies
        self._sink = sink
        self._changed = changed

    def keep(self, source: LoadedSource, ready: Prepared, now: float) -> None:
        """Make it the last good copy. Blocks."""
        # a copy that is not all of what was offered must not pass for that version
        version = None if ready.checked.refused else ready.load.version
        self.copies.put(source.key, version, ready.checked.lists, now)

    def use(self, source: LoadedSource, ready: Prepared, now: float) -> None:
        """Use the lists that passed."""
        checked = ready.checked
        source.loaded(ready.load, checked.lists, now)
        if checked.refused:
            self._doubt(source, ready, now)
        self._tell(source, now, loaded=True)

    def refuse(self, source: LoadedSource, ready: Prepared, now: float) -> None:
        """Nothing of it is used."""
        self._doubt(source, ready, now)
        self._tell(source, now)

    def _doubt(self, source: LoadedSource, ready: Prepared, now: float) -> None:
        checked, version = ready.checked, ready.load.version
        source.doubted(checked.refused, version, now, confirmable=checked.confirmable)

    def unchanged(self, source: LoadedSource, now: float) -> None:
        """The source was read and holds what we have."""
        was = source.trouble
        source.unchanged(now)
        complaint = source.complaint(now)
        if was is not None or complaint != source.told:
            self._tell(source, now, loaded=complaint is None)

    def failed(self, source: LoadedSource, trouble: str, now: float) -> None:
        """The source can't be read, or can't be used as it is."""
        source.failed(trouble, now, LONGEST_RETRY)
        self._tell(source, now)

    def restored(self, source: LoadedSource, load: Load, loaded_at: float) -> None:
        """The last good copy serves until the source itself was read."""
        source.restored(load, loaded_at)
        self._changed(source)

    def _tell(self, source: LoadedSource, now: float, *, loaded: bool = False) -> None:
        """Say what is new: a trouble once, not with each try."""
        domain, name = source.domain or "", source.name
        complaint = source.complaint(now)
        if complaint is not None:
            if complaint != source.told:
                self._sink(RecipientsFailed(domain=domain, source=name, reason=complaint))
        elif loaded:
            self._sink(
                RecipientsLoaded(
                    domain=domain,
                    source=name,
                    addresses=source.entries,
                    mistakes=source.mistakes,
                    bad=source.bad,
                )
            )
        news = loaded or complaint != source.told
        source.told = complaint
        if news:
            self._changed(source)


def outcome(source: LoadedSource, *, changed: bool) -> Refreshed:
    """How a refresh ended, for the operator."""
    return Refreshed(
        domain=source.domain or "",
        source=source.name,
        entries=source.entries if source.lists is not None else None,
        changed=changed,
        refused=source.trouble,
    )
