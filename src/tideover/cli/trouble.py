"""From an exception to a line that names the cure, and an exit code."""

import click

GOOD, BAD, WRONG, UNREACHABLE = range(4)
"""The exit codes; see `main`."""


class Problem(Exception):  # noqa: N818 - told to a person, not handled by a program
    """A verb's own bad news: one line with its cure, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def explained(error: BaseException) -> tuple[str, int]:
    """The text for stderr and the exit code."""
    if isinstance(error, Problem):
        return f"tideover: {error}", error.code
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "tideover"
        return f"{command}: {error.format_message()} See '{command} --help'.", WRONG
    if isinstance(error, click.ClickException):
        return f"tideover: {error.format_message()}", WRONG
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "tideover: stopped; nothing more was done", BAD
    bug = f"tideover: a bug, please report it: {type(error).__name__}: {error}"
    return _of_ours(error) or (f"{bug} (TIDEOVER_DEBUG=1 shows where)", BAD)


def _of_ours(error: BaseException) -> tuple[str, int] | None:
    """Known exceptions of lower layers; imported here, as most runs meet none of them."""
    from tideover.config.mistakes import ConfigError
    from tideover.control.client import RefusedError, UnreachableError
    from tideover.spool.interface import SpoolError, SpoolUnusable

    match error:
        case ConfigError():
            return "\n".join(error.lines()), WRONG
        case SpoolUnusable():
            return f"tideover: {error}", WRONG
        case SpoolError():
            return f"tideover: the spool can't be read now: {error}", BAD
        case UnreachableError():
            return f"tideover: {error}", UNREACHABLE
        case RefusedError():
            codes = {"bad-request": WRONG, "selection": WRONG, "not-found": BAD, "spool": BAD,
                     "internal": BAD}  # fmt: skip
            return f"tideover: {error}", codes.get(error.code, UNREACHABLE)
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            return f"tideover: {name}{error.strerror or error}", WRONG
    return None
