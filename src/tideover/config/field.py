"""How the model's files write one setting: its type, and a `doc` with help text and bounds."""

from typing import Any, Final

from pydantic import ConfigDict, Field

STRICT: Final = ConfigDict(extra="forbid", frozen=True)
"""Unknown keys are mistakes."""


def doc(text: str, **kwargs: Any) -> Any:  # noqa: ANN401 - as Field itself
    """The setting's help text; other arguments are those of `pydantic.Field`."""
    return Field(description=text, **kwargs)
