"""From a table to typed values, by pydantic, or to what is wrong with it, in our words."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tideover.config.document import Location, Table
from tideover.config.mistakes import Flaw, shown, unknown_key
from tideover.config.values import BadItemError


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type that pydantic knows
    return TypeAdapter(kind)


class InvalidError(Exception):
    """A table has flaws; all of them."""

    def __init__(self, flaws: list[Flaw]) -> None:
        super().__init__("; ".join(flaw.allowed for flaw in flaws))
        self.flaws = flaws


def validate(kind: Any, table: Table, base: str, name: Location = ()) -> Any:  # noqa: ANN401
    """The table as a `kind`. Relative paths start at `base`; `name` is where the table belongs.

    Raises:
        InvalidError: it has flaws. Where they are is told from the table on.
    """
    try:
        return _adapter(kind).validate_python(table, context=base)
    except ValidationError as error:
        raise InvalidError(list(_flaws(error.errors(include_url=False), name))) from None


def _flaws(errors: list[ErrorDetails], name: Location) -> Iterator[Flaw]:
    for error in errors:
        at: Location = error["loc"]
        cause = (error.get("ctx") or {}).get("error")
        found: object = error["input"]
        if at[-1:] == ("[key]",):
            at = at[:-1]
        if isinstance(cause, BadItemError):
            at, found = (*at, cause.index), cause.found
        match error["type"]:
            case "unexpected_keyword_argument":
                yield unknown_key(at, name)
            case "missing" | "missing_argument":
                yield Flaw(at=at, allowed="this setting is required")
            case "too_short" if found:  # its items are wrong, and have a flaw each
                continue
            case kind:
                allowed = str(cause) if cause else _allowed(kind, error)
                yield Flaw(at=at, found=shown(found), allowed=allowed)


_TYPES = {
    "int_type": "a whole number without quotes is wanted",
    "bool_type": "true or false is wanted, without quotes",
    "string_type": "text in quotes is wanted",
    "path_type": "a path in quotes is wanted",
    "tuple_type": "a list in [ ] is wanted",
    "dataclass_type": "a table is wanted",
    "dict_type": "a table is wanted",
    "too_short": "at least one item is needed",
}


def _allowed(kind: str, error: ErrorDetails) -> str:
    context = error.get("ctx") or {}
    match kind:
        case "literal_error" | "enum":
            return f"allowed: {context['expected']}".replace("'", '"')
        case "greater_than_equal":
            return f"it must be at least {context['ge']}"
        case "less_than_equal":
            return f"it must be at most {context['le']}"
        case "greater_than":
            return f"it must be more than {context['gt']}"
        case "string_too_long":
            return f"at most {context['max_length']} characters"
        case _:
            return _TYPES.get(kind, error["msg"])
