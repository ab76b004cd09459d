"""The list of all settings, read off the model.

Reference, `config explain`, the example and error texts are made from it, so that none of them
can say something else than the model does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge
from msgspec import Struct
from pydantic.fields import FieldInfo

from tideover.config.kinds import Kind
from tideover.config.model import Config
from tideover.config.values import write_duration, write_size

TABLES = ("profiles", "dns_lists", "milters", "sources", "domains")
"""Those whose entries the operator names."""


class Setting(Struct, frozen=True, kw_only=True):
    """One key of the file.

    `path` names it from the top ("NAME" stands for a domain or a source);
    `kind` is its type's name and `written` how a value looks; `default` is TOML text, None when
    unset and without value; `table` marks sections, `many` lists.
    """

    path: tuple[str, ...]
    kind: str
    written: str
    text: str
    required: bool = False
    default: str | None = None
    many: bool = False
    table: bool = False

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path[-1]

    @property
    def name(self) -> str:
        """The path as text: `smtp.listen`, `domains.NAME.primary`."""
        return ".".join(self.path)


@cache
def settings() -> tuple[Setting, ...]:
    """All settings in the order of the model, each table before what stands in it."""
    return tuple(_walk(Config, ()))


def _walk(model: type, prefix: tuple[str, ...]) -> Iterator[Setting]:
    hints = get_type_hints(model, include_extras=True)
    for item in fields(model):
        yield from _settings_of(item, hints[item.name], prefix)


def _settings_of(item: Field[Any], hint: object, prefix: tuple[str, ...]) -> Iterator[Setting]:
    path = (*prefix, item.name)
    bare, metadata = _unwrap(hint)
    docs = [m for m in metadata if isinstance(m, FieldInfo)]
    text = next(d.description for d in docs if d.description)
    least = next((m.ge for d in docs for m in d.metadata if isinstance(m, Ge)), None)
    if isinstance(bare, type) and is_dataclass(bare):
        yield Setting(path=path, kind="table", written=f"[{'.'.join(path)}]", text=text, table=True)
        yield from _walk(bare, path)
    elif get_origin(bare) is dict and not any(isinstance(m, Kind) for m in metadata):
        inner = (*path, "NAME")
        yield Setting(
            path=path, kind="tables", written=f'[{path[0]}."NAME"]', text=text, table=True
        )
        yield from _walk(_unwrap(get_args(bare)[1])[0], inner)
    else:
        kind, many = _kind(bare, metadata)
        default = {} if item.default_factory is dict else item.default
        yield Setting(
            path=path,
            kind=f"list of {kind.name}" if many else kind.name,
            written=kind.written + (f", at least {least}" if least else ""),
            text=text,
            required=default is MISSING,
            default=None if default in (MISSING, None) else write(default, kind.name),
            many=many,
        )


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 - a type, any type
    """The type itself without Annotated and `| None`, and all annotations met on the way."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            hint, *found = get_args(hint)
            metadata += tuple(found)
        elif get_origin(hint) in (Union, UnionType) and not any(
            isinstance(m, Kind) for m in metadata
        ):
            hint = next(a for a in get_args(hint) if a is not NoneType)
        else:
            return hint, metadata


def _kind(bare: Any, metadata: tuple[Any, ...]) -> tuple[Kind, bool]:  # noqa: ANN401
    for annotation in metadata:
        if isinstance(annotation, Kind):
            return annotation, False
    if get_origin(bare) is tuple:
        return _kind(*_unwrap(get_args(bare)[0]))[0], True
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return Kind("word", ", ".join(f'"{word}"' for word in bare)), False
    raise TypeError(f"{bare} has no Kind: the reference could not name it")


def write(value: object, kind: str) -> str:
    """A setting's value as TOML text."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "[" + ", ".join(write(item, kind) for item in value) + "]"
    if isinstance(value, dict):
        inside = ", ".join(f"{name} = {write(item, kind)}" for name, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if kind == "duration" and isinstance(value, float):
        return f'"{write_duration(value)}"'
    if kind == "size" and isinstance(value, int):
        return f'"{write_size(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def effective(config: Config) -> Iterator[tuple[Setting, tuple[str, ...], object]]:
    """Every setting with its real path (domains named) and its value in this configuration."""
    for setting in settings():
        if setting.table or "NAME" in setting.path:
            continue
        value: object = config
        for part in setting.path:
            value = getattr(value, part)
        yield setting, setting.path, value
    tables: dict[str, Mapping[str, object]] = {name: getattr(config, name) for name in TABLES}
    for table, entries in tables.items():
        inside = [s for s in settings() if s.path[:2] == (table, "NAME")]
        for name, entry in entries.items():
            for setting in inside:
                yield setting, (table, name, setting.key), getattr(entry, setting.key)
