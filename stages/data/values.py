"""Values of a row as templates see them: what is no text cannot be written as one, and a text is no list of texts.

Python makes a text of anything, and a list of any text: `str([1])`, `list("['a']")`. A template does both without a
word, in `{{ }}`, in filters and in loops. So the values of a row come as `seen` makes them, and refuse it themselves,
wherever a template does it. A number is written as Python writes it, which is how its own JSON does: 5, 5.0, 1e+22.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

#: Characters of a value that a message shows.
SHOWN = 80

#: What is written as Python writes it, beside texts and finite numbers: 2024-05-01.
_DATES = (datetime.date, datetime.time)


class NoText(ValueError):
    """A template wrote out what is no text."""

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__(what(value))


class NoList(TypeError):
    """A template went through the characters of a text."""

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(f"a text, not a list of texts ({shown(value)})")


def written(value: Any) -> Any:
    """`value`, if it is a text or a number, and can be encoded.

    Raises:
        NoText: it is anything else: null, a boolean, a list, an object, NaN, a text with half a character.
    """
    if type(value) is int or isinstance(value, str) and (value.isascii() or not _halved(value)):
        return value
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if number and math.isfinite(value) or isinstance(value, _DATES):
        return value
    raise NoText(value)


def plain(value: Any) -> str:
    """The text of a value, as a `str` and nothing else.

    Raises:
        NoText: as `written`.
    """
    return str.__str__(value) if isinstance(value, str) and written(value) is value else str(written(value))


def seen(value: Any) -> Any:
    """`value` as a template sees it; equal to it, and of the same kind."""
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Mapping):
        return Object((name, seen(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return List(map(seen, value))
    if isinstance(value, float) and not math.isfinite(value):
        return NoNumber(value)
    return value


def what(value: Any) -> str:
    """What a value is that is no text, with what a message shows of it."""
    if value is None:
        return "a value is null"
    if isinstance(value, str):
        return f"half a character, which no file can hold ({shown(value)})"
    if isinstance(value, bool):
        return f"a boolean ({shown(value)}), not a text; {{{{ 'yes' if it else 'no' }}}} is one"
    if isinstance(value, int | float | Decimal):
        return f"no number ({shown(value)})"
    if _is_conversation(value):
        return (
            f"a conversation ({shown(value)}), and conversations are not supported yet; "
            "give one text in each column, the prompt as the model is to see it"
        )
    if isinstance(value, list | tuple):
        return f"a list, not a text ({shown(value)})"
    if isinstance(value, Mapping):
        return f"an object, not a text ({shown(value)})"
    return f"a value of the type {type(value).__name__}, not a text"


def shown(value: Any) -> str:
    """The beginning of a value as JSON; half a character by its number."""
    text = json.dumps(value, default=lambda other: type(other).__name__, ensure_ascii=False)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


class Text(str):
    """A text that is no list of its characters, and no more is what its methods make of it."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        raise NoList(self)

    def __str__(self) -> str:
        return self

    def __getitem__(self, place: Any) -> str:
        found = super().__getitem__(place)
        return Text(found) if isinstance(place, slice) else found

    def __radd__(self, other: str) -> str:
        return Text(str.__add__(other, self))


def _of_text(name: str) -> Callable[..., Any]:
    """The method of a text, whose results are such texts, too."""
    method = getattr(str, name)

    def call(self: str, *args: Any, **options: Any) -> Any:
        found = method(self, *args, **options)
        return found if found is NotImplemented else seen(found)

    call.__name__ = name
    return call


for _name in (
    *("strip", "lstrip", "rstrip", "replace", "lower", "upper", "casefold", "removeprefix", "removesuffix"),
    *("title", "capitalize", "swapcase", "split", "rsplit", "splitlines", "partition", "rpartition", "__add__"),
):
    setattr(Text, _name, _of_text(_name))


class List(list[Any]):
    """A list that has no text."""

    __slots__ = ()

    def __repr__(self) -> NoReturn:
        raise NoText(self)

    __str__ = __repr__


class Object(dict[str, Any]):
    """An object that has no text."""

    __slots__ = ()

    def __repr__(self) -> NoReturn:
        raise NoText(self)

    __str__ = __repr__


class NoNumber(float):
    """NaN, or an infinity: a number that has no text."""

    __slots__ = ()

    def __repr__(self) -> NoReturn:
        raise NoText(self)

    __str__ = __repr__

    def __format__(self, form: str) -> NoReturn:
        raise NoText(self)


#: How messages of templates call these kinds.
KINDS: dict[type, str] = {Text: "str object", List: "list object", Object: "dict object", NoNumber: "float object"}


def _halved(text: str) -> bool:
    """Whether a text has half a character (a lone surrogate), as the JSON "\\ud800"."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_conversation(value: Any) -> bool:
    """Whether a value is a message, or a list of them."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(first, Mapping) and ("content" in first or {"from", "value"} <= first.keys())
