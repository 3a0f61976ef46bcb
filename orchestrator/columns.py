"""Which columns are the prompt, the completion and the gold answer, where a data source does not say so itself.

Some names are plain, others could be misread; those are asked about, never guessed:

    prompt       the column `prompt`, as it is; else the only one of `QUESTIONS`, in the study's template `open`
    completion   the column `completion`; else the only one of response, output and solution; else `answer`
    answer       of reinforcement learning: the column `answer`. A solution is a text with an answer somewhere in it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Columns with a question, which a template makes a prompt of.
QUESTIONS = ("question", "problem", "instruction", "input", "query")
#: Columns with a whole text that a model may have written.
RESPONSES = ("response", "output", "solution")
#: Columns of conversations.
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialog")

#: What an override says for the study's template, whatever it is.
OPEN = "${template.open}"

#: The field that a kind of data has beside the prompt.
GIVEN = {"demonstrations": "completion", "calibration": "completion", "problems": "answer"}


class Unsaid(Exception):
    """The columns do not say it themselves."""


def usual(kind: str) -> dict[str, str]:
    """The fields of a kind of data whose columns are not known."""
    return {name: f"{{{{ {name} }}}}" for name in ("prompt", GIVEN[kind])}


def fields(kind: str, columns: Sequence[str], question: str, *, key: str, path: str) -> dict[str, str]:
    """Field -> template, for data that has these columns.

    `question` is the template of a prompt over the field `question`; `key` and `path` are where the data is named.

    Raises:
        Unsaid: no column, or more than one, could be meant; with the override that says which.
    """
    prompt = _prompt(columns, question)
    given = _given(kind, columns)
    if isinstance(prompt, dict) and isinstance(given, str):
        return {**prompt, GIVEN[kind]: given}
    if talks := [name for name in _CONVERSATIONS if name in columns]:
        raise Unsaid(f"column {talks[0]}: conversations are not supported yet; give one text in each column")
    wrong = [
        _asked(name, found, columns)
        for name, found in (("prompt", prompt), (GIVEN[kind], given))
        if isinstance(found, list)
    ]
    said = prompt if isinstance(prompt, dict) else {"question": _template(prompt)}
    said = {**said, "prompt": OPEN} if "question" in said else said
    said |= {GIVEN[kind]: given if isinstance(given, str) else _template(given)}
    raise Unsaid(f"{'; '.join(wrong)}; say so: {override(key, path, said)}")


def told(fields: dict[str, str]) -> str:
    """What a plan says of fields that nobody has written: `question is the column problem, ...`."""
    plain = {name: text.strip("{ }") for name, text in fields.items() if text == f"{{{{ {text.strip('{ }')} }}}}"}
    named = ", ".join(
        f"{name} is the column {column}" for name, column in plain.items() if name != "prompt" or column == name
    )
    return f"{named}; the prompt is the question in template.open" if "question" in fields else named


def override(key: str, path: str, fields: dict[str, str] | None = None) -> str:
    """What a command line says to read a file, quoted for the shell.

    `override("problems", "a.jsonl")` is `'problems={path: "a.jsonl"}'`.
    """
    named = ", ".join(f"{name}: {quoted(text)}" for name, text in (fields or {}).items())
    text = f"{key}={{path: {quoted(path)}{f', fields: {{{named}}}' if named else ''}}}"
    return shell(text)


def shell(text: str) -> str:
    """An argument of a command line, quoted for the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _prompt(columns: Sequence[str], question: str) -> dict[str, str] | list[str]:
    """The fields that make a prompt, or the columns that could be meant."""
    if "prompt" in columns:
        return {"prompt": "{{ prompt }}"}
    found = [name for name in QUESTIONS if name in columns]
    return {"question": f"{{{{ {found[0]} }}}}", "prompt": question} if len(found) == 1 else found


def _given(kind: str, columns: Sequence[str]) -> str | list[str]:
    """The template of what is given beside the prompt, or the columns that could be meant."""
    if GIVEN[kind] in columns:
        return f"{{{{ {GIVEN[kind]} }}}}"
    found = [name for name in RESPONSES if name in columns]
    if GIVEN[kind] == "answer":
        return [*found, *(name for name in ("completion",) if name in columns)]
    if len(found) == 1:
        return f"{{{{ {found[0]} }}}}"
    return found if found or "answer" not in columns else "{{ answer }}"


def _asked(name: str, found: Sequence[str], columns: Iterable[str]) -> str:
    """What a message asks about one field."""
    if name == "answer" and found:
        return f"no column answer, and {' or '.join(found)} may be more than the gold answer alone"
    if found:
        return f"{' or '.join(found)} could be the {name}"
    return f"no column {name}; it has {', '.join(columns)}"


def _template(found: Sequence[str]) -> str:
    """What the override of a message proposes."""
    if {"instruction", "input"} <= {*found}:
        return "{{ instruction }} {{ input }}"
    return f"{{{{ {found[0] if found else 'COLUMN'} }}}}"


def quoted(text: str) -> str:
    """A text as a value of Hydra's command line."""
    return '"' + text.replace('\\"', '\\\\"').replace('"', '\\"') + '"'
