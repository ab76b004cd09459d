"""When a message that was told "later" is tried again. Pure: chance and time are arguments."""


def backoff(attempts: int, *, first: float, maximum: float, chance: float) -> float:
    """Seconds until the next attempt, after `attempts` earlier ones that reached a verdict.

    Doubles from `first` up to `maximum` (RFC 5321 §4.5.4.1). `chance` in [0, 1) shortens it by up
    to a fifth, so that messages deferred together don't come back together.
    """
    doubled = first * 2.0 ** min(attempts, 32)
    return float(min(doubled, maximum)) * (1.0 - 0.2 * chance)
