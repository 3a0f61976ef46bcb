"""Source lines: the comments in conf/ that say where a value of the recipe comes from, as data.

A key says it behind its value, in three cells. Comments below it that are indented deeper than the key go on:

    weight_decay: 0.01  # silent | verl actor.optim.weight_decay, 0.01 | what differs,
                        # or why it is so
                        # the paper | a tool's key, and its default | a remark

What the paper or a tool fixes and no key says is a comment of its own, in five cells; lines with two spaces go on:

    #: no dropout | silent | verl: eval mode | stages/training/grpo_settings.py | a remark
    #  that goes on
    #: what | the paper | a tool's key, and its default | where it is here | a remark

A comment without | is any comment. Where a value ends, and what is no comment but text, the YAML parser says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

#: What stands between a key and its comment if its value begins on the next line: a colon, and how a text is read.
_HEAD = re.compile(r"\s*:\s*(?:[|>][-+0-9]*)?")
_FIXED = "#:"
_FIXED_GOES_ON = "#  "


@dataclass(frozen=True)
class OfKey:
    """Where the value of a key comes from. `key` is its path in the file."""

    key: tuple[str, ...]
    paper: str
    tool: str
    remark: str


@dataclass(frozen=True)
class Fixed:
    """What no key says. `here` is where it is in this project."""

    what: str
    paper: str
    tool: str
    here: str
    remark: str


def read(file: Path) -> list[OfKey | Fixed]:
    """The source lines of a YAML file, in its order.

    Raises:
        ValueError: a comment with | has another number of cells.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found: dict[int, OfKey | Fixed] = {}
    for end in _ends(root, lines):
        comment = " ".join(_comment(end, lines))
        if "|" in comment:
            found[end.line] = OfKey(end.key, *_cells(comment, 3, file, end.line))
    no_comments = set(_text_lines(root))
    for number, line in enumerate(lines):
        if line.strip().startswith(_FIXED) and number not in no_comments:
            comment = " ".join([line.strip().removeprefix(_FIXED), *_going_on(lines[number + 1 :])])
            found[number] = Fixed(*_cells(comment, 5, file, number))
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class _End:
    """Where a key's comment may begin, and how deep the key stands. A comment above a block does not go on below."""

    key: tuple[str, ...]
    depth: int
    line: int
    column: int
    goes_on: bool


def _ends(node: Node | None, lines: Sequence[str], path: tuple[str, ...] = ()) -> Iterator[_End]:
    """The ends of all keys that have lines of their own."""
    if not isinstance(node, MappingNode) or node.flow_style:
        return
    for key, value in node.value:
        own, depth = (*path, str(key.value)), key.start_mark.column
        text = isinstance(value, ScalarNode) and value.style in ("|", ">")
        if text or (not isinstance(value, ScalarNode) and not value.flow_style):
            mark = key.end_mark
            head = _HEAD.match(lines[mark.line], mark.column)
            assert head is not None, f"no colon behind {own}"
            yield _End(own, depth, mark.line, head.end(), goes_on=False)
        else:
            yield _End(own, depth, value.end_mark.line, value.end_mark.column, goes_on=True)
        yield from _ends(value, lines, own)


def _comment(end: _End, lines: Sequence[str]) -> Iterator[str]:
    """The parts of a key's comment, without their #."""
    first = lines[end.line][end.column :].strip()
    if not first.startswith("#"):
        return
    yield first.lstrip("#")
    for line in lines[end.line + 1 :] if end.goes_on else ():
        comment = line.strip()
        if not comment.startswith("#") or comment.startswith(_FIXED) or line.index("#") <= end.depth:
            return
        yield comment.lstrip("#")


def _going_on(lines: Sequence[str]) -> Iterator[str]:
    """The parts of a comment of its own in the lines below its first one."""
    for line in lines:
        if not line.strip().startswith(_FIXED_GOES_ON):
            return
        yield line.strip().lstrip("#")


def _text_lines(node: Node | None) -> Iterator[int]:
    """The lines that are text of a value, below its first line."""
    if isinstance(node, ScalarNode):
        yield from range(node.start_mark.line + 1, node.end_mark.line)
    elif node is not None:
        for each in node.value:
            for inner in each if isinstance(each, tuple) else (each,):
                yield from _text_lines(inner)


def _cells(comment: str, count: int, file: Path, line: int) -> list[str]:
    cells = [" ".join(cell.split()) for cell in comment.split("|")]
    if len(cells) != count:
        text = " ".join(comment.split())
        raise ValueError(f"{file}:{line + 1}: a source line of {len(cells)} cells, not {count}: {text!r}")
    return cells
