"""Templates of data and of prompts: what they may do, and what they refuse to write out.

Filters make a text of whatever they are given, and so does `~`. Here they refuse what `{{ }}` refuses, too
(`stages.data.values`); a boolean only where a filter says how it is meant to be written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stages.data import values
from stages.data.values import Text, written

#: Filters that write out what they are given.
_WRITING = (
    *("trim", "replace", "indent", "center", "truncate", "wordwrap", "wordcount", "striptags"),
    *("e", "escape", "forceescape", "safe", "urlencode", "urlize"),
)
#: Those that say how a boolean is written: {{ flag | lower }} is true, {{ flag | int }} is 1.
_SAYING = ("string", "lower", "upper", "title", "capitalize")
#: Those that make 0 of what is no number, unless they are told what else.
_COUNTING = ("int", "float")

#: What a message calls the values of a row.
_NAMES = {f"{kind.__module__}.{kind.__name__} object": name for kind, name in values.KINDS.items()}


class _Missing(jinja2.StrictUndefined):
    """What is not there, with the values of a row called by their plain names."""

    @property
    def _undefined_message(self) -> str:
        text = super()._undefined_message
        for name, plain in _NAMES.items():
            text = text.replace(name, plain)
        return text


class _Environment(ImmutableSandboxedEnvironment):
    """Nothing can be changed or called into, what is not there is an error, and `~` and `%` write as `{{ }}` does."""

    intercepted_binops = frozenset({"%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str):
            _check(right if isinstance(right, tuple) else [right])
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        for joined in source.find_all(nodes.Concat):
            joined.nodes = [
                nodes.Filter(each, "written", [], [], None, None, lineno=each.lineno, environment=self)
                for each in joined.nodes
            ]
        return super()._generate(source, *args, **options)


def _check(found: Iterable[Any]) -> None:
    for each in found:
        if not isinstance(each, jinja2.Undefined):
            written(each)


def _finalized(value: Any) -> Any:
    """What `{{ }}` writes out; what is not there says so itself."""
    return value if isinstance(value, jinja2.Undefined) else written(value)


def _refusing(fill: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter whose value and arguments are checked first."""
    context = 1 if hasattr(fill, "jinja_pass_arg") else 0

    @functools.wraps(fill)
    def filled(*args: Any, **options: Any) -> Any:
        check(*args[context:])
        return fill(*args, **options)

    return filled


def _writes(value: Any, *args: Any) -> None:
    _check([value])


def _formats(value: Any, *args: Any) -> None:
    _check([value, *args])


def _says(value: Any, *args: Any) -> None:
    if not isinstance(value, bool):
        _check([value])


def _counts(value: Any, *default: Any) -> None:
    if not default and not isinstance(value, bool):
        _check([value])


def _joins(fill: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `join`, which writes out every item."""

    @functools.wraps(fill)
    def filled(context: Any, value: Iterable[Any], *args: Any, **options: Any) -> Any:
        if len(args) < 2 and options.get("attribute") is None:  # else it is a part of each item that is written
            value = [_finalized(each) for each in value]
        return fill(context, value, *args, **options)

    return filled


def _first(fill: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `first`, which also gives the first character of a text, as [0] does."""

    @functools.wraps(fill)
    def filled(environment: Any, value: Any) -> Any:
        return fill(environment, str.__str__(value) if isinstance(value, Text) else value)

    return filled


def _made() -> _Environment:
    made = _Environment(undefined=_Missing, keep_trailing_newline=True, finalize=_finalized)
    made.globals.clear()  # a column may be called `range`
    filters = made.filters
    filters |= {name: _refusing(filters[name], _writes) for name in _WRITING}
    filters |= {name: _refusing(filters[name], _says) for name in _SAYING}
    filters |= {name: _refusing(filters[name], _counts) for name in _COUNTING}
    filters |= {"format": _refusing(filters["format"], _formats), "written": _finalized}
    filters |= {"join": _joins(filters["join"]), "first": _first(filters["first"])}
    return made


#: For templates of data and of prompts.
ENVIRONMENT = _made()
