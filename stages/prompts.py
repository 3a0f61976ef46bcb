"""Prompts of a benchmark: a Jinja template over the fields of a problem, and worked examples before it.

A template may name each field, `problem` (all of them, for a template that sets one of these names itself) and `shots`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.contract import StageError
from stages.data import values
from stages.problems import Problem, with_letters

if TYPE_CHECKING:
    from jinja2 import Template

Fields = Mapping[str, Any]


def errors(template: str) -> list[str]:
    """What is wrong with a template, before there is any problem."""
    from jinja2 import TemplateSyntaxError, meta

    from stages.data.templates import ENVIRONMENT

    try:
        names = meta.find_undeclared_variables(ENVIRONMENT.parse(template))
    except TemplateSyntaxError as error:
        return [f"{template!r}, line {error.lineno}: {error.message}"]
    return (
        []
        if {"question", "problem"} & names
        else [f"{template!r} does not name {{{{ question }}}}: all prompts would be equal"]
    )


def render(template: str, problem: Problem, shots: Sequence[Fields] = ()) -> str:
    """The prompt of a problem.

    Raises:
        StageError: the template names a field that the problem has not.
    """
    from jinja2 import TemplateError

    fields = _seen(problem.fields)
    try:
        return _compiled(template).render({**fields, "problem": fields, "shots": [_seen(each) for each in shots]})
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        raise StageError(f"template, for problem {problem.id}: {error}; it has {', '.join(problem.fields)}") from None


def shots_of(problem: Problem, examples: Sequence[Fields], number: int) -> list[Fields]:
    """The worked examples of a problem: the first `number` of its category, in their order; of all if it has none.

    Raises:
        StageError: there are fewer.
    """
    category = problem.category
    same = [row for row in examples if category is None or row.get("category") == category]
    if len(same) < number:
        of = f" of the category {category!r}" if category is not None else ""
        raise StageError(f"shots: {number} asked for, but there are {len(same)} examples{of}")
    return [with_letters(row) for row in same[:number]]


def _seen(fields: Fields) -> dict[str, Any]:
    """Fields as a template sees them: of all texts, the letters of the choices alone are a list, too."""
    return {name: value if name == "letters" else values.seen(value) for name, value in fields.items()}


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    from stages.data.templates import ENVIRONMENT

    return ENVIRONMENT.from_string(template)
