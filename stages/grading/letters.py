r"""The letter that a completion chooses, as the authors of each benchmark read it. Nothing here judges it.

Every search is linear in the length of the completion: repetitions are bounded, or cannot overlap.

- `mmlu_pro`: the cascade of MMLU-Pro's `compute_accuracy.py`, level 2, without its random letter where nothing matches.
- `gpqa`: `parse_sampled_answer` of GPQA's `run_baseline.py`.
- `arc`: AI2 has published no extractor. lm-eval's `arc_challenge_chat` asks for "The best answer is [letter]", and
  takes what follows. Here: the last "best answer is X", else what `letter` finds, else the last letter by itself.
- `letter`: the last box, if it holds a letter or the text of one option; else the last "answer is X".

Of `arc` and `letter`, what names several options chooses none (`stages.grading.choices`): `\boxed{A, B}`, "The answer
is A or B." A box with mathematics (`\boxed{B = 3}`) holds no letter, so that a stated one counts.

The official two ignore the options, and so does this: a letter beyond them is wrong, and never gold. For `arc` and
`letter` the options bound what counts as a letter, and numbers count the options (ARC has rows with the labels 1 to 4).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from stages.grading import choices
from stages.grading.boxes import last_box

_MMLU_PRO_STATED = re.compile(r"answer is \(?([A-J])\)?")
# The official `.*[aA]nswer:\s*([A-J])` is quadratic; a lookahead, so that the A of one Answer may be another's letter.
_MMLU_PRO_LINE = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_MMLU_PRO_ALONE = re.compile(r"\b[A-J]\b")

_GPQA = [
    re.compile(p) for p in (r"answer is \((.)\)", r"Answer: \((.)\)", r"answer: \((.)\)", r"answer \((.)\)", r"\((.)\)")
]

#: Options of ARC where nobody says which: it has up to five.
_LABELS = ("",) * 5


def letter(completion: str, options: Sequence[str] | None) -> str | None:
    """The letter in the last box, or of the option whose text is there; else the last "answer is (X)"."""
    return _letter(choices.half_width(completion), options) or None


def arc(completion: str, options: Sequence[str] | None) -> str | None:
    """The letter of the last "best answer is X", else `letter`, else the last letter that stands alone."""
    completion = choices.half_width(completion)
    options = _LABELS if options is None else options
    found = choices.best(completion, options)
    found = _letter(completion, options) if found is None else found
    if found is None and len(completion) < 100:  # only a letter, or a label: "B", "(2)."
        found = choices.whole(completion, options)
    return (choices.alone(completion, options) if found is None else found) or None


def _letter(completion: str, options: Sequence[str] | None) -> str | None:
    boxed = last_box(completion)
    found = choices.in_box(boxed, options) if boxed is not None else None
    return choices.stated(completion, options) if found is None else found


def mmlu_pro(completion: str, options: Sequence[str] | None = None) -> str | None:
    """The first "answer is (X)"; else the last "answer: X" of the first line with one; else the last X alone."""
    if stated := _MMLU_PRO_STATED.search(completion):
        return stated.group(1)
    found, end = None, len(completion)
    for match in _MMLU_PRO_LINE.finditer(completion):
        if match.start() > end:
            break
        if found is None and (line := completion.find("\n", match.start())) >= 0:
            end = line
        found = match.group(1)
    if found is None:
        for match in _MMLU_PRO_ALONE.finditer(completion):
            found = match.group()
    return found


def gpqa(completion: str, options: Sequence[str] | None = None) -> str | None:
    """The letter in the first hit of each pattern in turn, if it is one of A to D."""
    for pattern in _GPQA:
        match = pattern.search(completion)
        if match and match.group(1) in "ABCD":
            return match.group(1)
    return None


def gold(text: str) -> str | None:
    """The letter of a gold answer: `"b"`, `"(B)"` and `"2"` are `"B"`; None if it is none."""
    bare = text.strip().strip("().").upper()
    if bare.isascii() and bare.isdigit() and len(bare) <= 2 and 1 <= int(bare) <= len(ascii_uppercase):
        return ascii_uppercase[int(bare) - 1]
    return bare if len(bare) == 1 and bare in ascii_uppercase else None
