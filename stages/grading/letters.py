r"""Answers to multiple choices: the letter that a completion gives, by the extraction that belongs to a benchmark.

    letter     the letter in the last box (or the text of an option), else the last one stated: "answer is (X)"
    mmlu_pro   MMLU-Pro's compute_accuracy.py, level 2, but for its random guesses
    gpqa       parse_sampled_answer of GPQA's baselines/run_baseline.py
    arc        the last "best answer is X", as lm-evaluation-harness's arc_challenge_chat asks for it; else the last
               box, the last "answer is X", a letter by itself; digits are letters too, as some of ARC's labels are
               (AI2 has no script for free text)

All take time linear in the length of the text, whatever it is. The scripts' own patterns do not, so their verdicts are
reached without their backtracking; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from stages.grading.mathematics import last_box

Options = Sequence[str] | None

_DIGITS = "123456789"

# Every repetition is bounded, or stops where no other can begin, so that no string makes a search quadratic.
_MARKUP = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)(?![A-Za-z])|[{}$\\\s]")
_IN_BOX = re.compile(r"\W{0,3}(?:\\[a-z]{4,6}\s?\{)?\W{0,3}([A-Z1-9])(?![A-Za-z0-9'_^]|\s{0,2}[-+*/=<>])")
_SMALL_IN_BOX = re.compile(r"\W{0,3}(?:\\[a-z]{4,6}\s?\{)?\W{0,3}([a-j])\W{0,3}$")

#: What may stand between "answer is" and its letter, and what must not stand behind it.
_MARKS = r"[\s:*_$]{0,6}(?:\\?[(\[{]|\\[a-z]{4,6}\s?\{){0,3}[\s*_]{0,3}"
_LETTER = r"(?:(?<=\()([a-z])(?=\))|([A-Z1-9])(?![A-Za-z0-9'_^]|\.\d|[-/]\w|\s{0,2}[+=<>]))"
_STATED = re.compile(rf"[Aa][Nn][Ss][Ww][Ee][Rr](?:\s{{1,3}}(?:is|IS))?{_MARKS}{_LETTER}")
_CHOSEN = re.compile(rf"(?:correct|best|right)\s{{1,3}}(?:option|choice|letter)(?:\s{{1,3}}is)?{_MARKS}{_LETTER}")
_BEST = re.compile(rf"[Bb]est answer is{_MARKS}{_LETTER}")
_ALONE = re.compile(r"(?<![A-Za-z0-9'])([A-Z])(?![A-Za-z0-9']|\.\d)")
_ONLY = re.compile(r"\W{0,5}([A-Za-z1-9])\W{0,5}$")

_MMLU_IS = re.compile(r"answer is \(?([A-J])\)?")
_MMLU_COLON = re.compile(r"[aA]nswer:")
_MMLU_BEHIND = re.compile(r"\s*([A-J])")
_MMLU_ALONE = re.compile(r"\b[A-J]\b")
_GPQA = tuple(
    re.compile(pattern)
    for pattern in (r"answer is \((.)\)", r"Answer: \((.)\)", r"answer: \((.)\)", r"answer \((.)\)", r"\((.)\)")
)


def extract(kind: str, completion: str, options: Options = None) -> str | None:
    """The letter of a completion, or None.

    Args:
        kind: one of the four above.
        options: the texts of the choices, where they are known. For `letter` and `arc` a letter beyond them is none.
            The other two know no options, as their scripts do not.
    """
    return _EXTRACTORS[kind](completion, options)


def letter_of(gold: str) -> str | None:
    """The letter that a gold answer is: `"b"`, `"(B)"` and `"2"` are `"B"`; None if it is none."""
    bare = gold.strip().strip("().").strip().upper()
    if len(bare) != 1:
        return None
    return ascii_uppercase[int(bare) - 1] if bare in _DIGITS else bare if bare in ascii_uppercase else None


def _letter(text: str, options: Options) -> str | None:
    boxed = last_box(text)
    found = None if boxed is None else _option(boxed, options) or _boxed(boxed, options, digits=False)
    return found or _last(_STATED, text, options) or _last(_CHOSEN, text, options)


def _arc(text: str, options: Options) -> str | None:
    best = _last(_BEST, text, options, digits=True)
    if best is not None:
        return best
    boxed = last_box(text)
    found = None if boxed is None else _option(boxed, options) or _boxed(boxed, options, digits=True)
    found = found or _last(_STATED, text, options, digits=True) or _last(_CHOSEN, text, options, digits=True)
    if found is None and (only := _ONLY.match(text)):
        return _within(only.group(1), options)
    return found or _last(_ALONE, text, options)


def _mmlu_pro(text: str, _: Options) -> str | None:
    found = _MMLU_IS.search(text)
    if found is not None:
        return found.group(1)
    letter = _mmlu_line(text)
    if letter is None:
        for alone in _MMLU_ALONE.finditer(text):
            letter = alone.group()
    return letter


def _mmlu_line(text: str) -> str | None:
    r"""What `.*[aA]nswer:\s*([A-J])` finds: of the first line with a match the last one."""
    letter, end = None, len(text)
    for colon in _MMLU_COLON.finditer(text):
        if colon.start() > end:
            break
        behind = _MMLU_BEHIND.match(text, colon.end())
        if behind is not None:
            if letter is None and (line := text.find("\n", colon.start())) >= 0:
                end = line
            letter = behind.group(1)
    return letter


def _gpqa(text: str, _: Options) -> str | None:
    firsts = (pattern.search(text) for pattern in _GPQA)
    return next((first.group(1) for first in firsts if first is not None and first.group(1) in "ABCD"), None)


def _option(boxed: str, options: Options) -> str | None:
    """The letter of the one option whose text a box holds."""
    alike = [number for number, option in enumerate(options or ()) if _bare(option) == _bare(boxed)]
    return ascii_uppercase[alike[0]] if len(alike) == 1 else None


def _bare(text: str) -> str:
    """A text without markup, spaces and case, for comparison."""
    return _MARKUP.sub("", text[:2_000]).rstrip(".").casefold()


def _boxed(boxed: str, options: Options, *, digits: bool) -> str | None:
    """The letter that a box begins with, or that is all of it."""
    match = _IN_BOX.match(boxed) or _SMALL_IN_BOX.match(boxed)
    return None if match is None or (match.group(1) in _DIGITS and not digits) else _within(match.group(1), options)


def _last(pattern: re.Pattern[str], text: str, options: Options, *, digits: bool = False) -> str | None:
    """The last match that is a letter of the options."""
    letter = None
    for match in pattern.finditer(text):
        named = match.group(match.lastindex or 0)
        if named not in _DIGITS or digits:
            letter = _within(named, options) or letter
    return letter


def _within(named: str, options: Options) -> str | None:
    """The letter that a letter or a digit names, if there is such an option."""
    place = int(named) - 1 if named in _DIGITS else ascii_uppercase.index(named.upper())
    return ascii_uppercase[place] if options is None or place < len(options) else None


_EXTRACTORS: dict[str, Callable[[str, Options], str | None]] = {
    "letter": _letter,
    "mmlu_pro": _mmlu_pro,
    "gpqa": _gpqa,
    "arc": _arc,
}
