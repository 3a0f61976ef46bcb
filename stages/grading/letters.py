r"""The letter that a completion chooses, as the authors of each benchmark read it. Nothing here judges it.

Every search is linear in the length of the completion: repetitions are bounded, or cannot overlap.

- `mmlu_pro`: the cascade of MMLU-Pro's `compute_accuracy.py`, level 2, without its random letter where nothing matches.
- `gpqa`: `parse_sampled_answer` of GPQA's `run_baseline.py`.
- `arc`: AI2 has published no extractor. lm-eval's `arc_challenge_chat` asks for "The best answer is [letter]", and
  takes what follows. Here: the last "best answer is X", else what `letter` finds, else the last letter by itself.
- `letter`: the last box, if it holds a letter or the text of one option; else the last "answer is X".

The official two ignore the options, and so does this: a letter beyond them is wrong, and never gold. For `arc` and
`letter` the options bound what counts as a letter, and numbers count the options (ARC has rows with the labels 1 to 4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from stages.grading.boxes import last_box

_MMLU_PRO_STATED = re.compile(r"answer is \(?([A-J])\)?")
# The official `.*[aA]nswer:\s*([A-J])` is quadratic; a lookahead, so that the A of one Answer may be another's letter.
_MMLU_PRO_LINE = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_MMLU_PRO_ALONE = re.compile(r"\b[A-J]\b")

_GPQA = [
    re.compile(p) for p in (r"answer is \((.)\)", r"Answer: \((.)\)", r"answer: \((.)\)", r"answer \((.)\)", r"\((.)\)")
]

# What may stand around a letter: emphasis, quotes, a parenthesis, a dollar, a text command, a box.
_DRESS = r"(?:\\\(|\\?(?:boxed|fbox|text|textbf|mathbf|mathrm)\{|[\s*_(\"'“‘\[{`$:]){0,8}"
# Not the first letter of a word, not the whole part of a decimal, not a count of something.
_CHOICE = r"(?:(?P<letter>[A-Z])|(?P<dressed>(?<=[({*])[a-z])(?=[)}*])|(?P<number>\d{1,2})(?![.,]\d))(?![\w'’^=+/])"
_IS = r"(?:\s{1,3}(?:is|was|would\sbe|must\sbe|should\sbe))?"
_STATED = re.compile(rf"(?i:answer{_IS}|(?:choice|option)\s{{1,3}}is)(?i:\s{{1,3}}(?:option|choice))?{_DRESS}{_CHOICE}")
_BEST = re.compile(rf"(?i:best\sanswer\sis)(?i:\s{{1,3}}(?:option|choice))?{_DRESS}{_CHOICE}")
_BOXED = re.compile(rf"(?i:\\text\{{\s?)?(?i:(?:option|choice|answer)\s)?{_DRESS}{_CHOICE}")
_COUNTED = re.compile(r"[\s)}\]*_$.,;\"'”’`\\]{0,6}(?:\n|$)")
_ALONE = re.compile(r"(?<![\w'’\\^{}=+/-])([A-Z])(?![\w'’^=+/-])")
# "A" and "I" before a small word are English, unless that word goes on about the choice.
_ENGLISH = re.compile(r"[AI]\s(?!(?:is|because|since|as|and|or)\b)[a-z]")
#: Options of ARC where nobody says which: it has up to five.
_LABELS = ("",) * 5
_UNDRESSED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|left|right)(?![a-zA-Z])|[\s${}~,]|\\[ ,;!]")


def letter(completion: str, options: Sequence[str] | None) -> str | None:
    """The letter in the last box, or of the option whose text is there; else the last "answer is (X)"."""
    boxed = last_box(completion)
    found = _in_box(boxed, options) if boxed is not None else None
    return found or _last(_STATED.finditer(completion), options)


def arc(completion: str, options: Sequence[str] | None) -> str | None:
    """The letter of the last "best answer is X", else `letter`, else the last letter that stands alone."""
    options = _LABELS if options is None else options
    whole = completion.strip() if len(completion) < 100 else ""  # only a letter, or a label: "B", "(2)."
    found = _last(_BEST.finditer(completion), options) or letter(completion, options)
    if found or (whole and (found := _in_box(whole.rstrip(".:)"), options))):
        return found
    alone = None
    for match in _ALONE.finditer(completion):
        if match.group(1) in _letters(options) and not _ENGLISH.match(completion, match.start()):
            alone = match.group(1)
    return alone


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


def _letters(options: Sequence[str] | None) -> str:
    return ascii_uppercase if options is None else ascii_uppercase[: len(options)]


def _in_box(boxed: str, options: Sequence[str] | None) -> str | None:
    """The option that a box holds: by its text, if one alone has it, or by its letter or number."""
    texts = [_plain(option) for option in options or []]
    if texts.count(_plain(boxed)) == 1:
        return ascii_uppercase[texts.index(_plain(boxed))]
    match = _BOXED.match(boxed)
    if match is None and len(boxed) == 1 and boxed.islower():
        return boxed.upper() if boxed.upper() in _letters(options) else None
    return _chosen(match, options) if match else None


def _last(matches: Iterable[re.Match[str]], options: Sequence[str] | None) -> str | None:
    """The last match that names an option."""
    found = None
    for match in matches:
        found = _chosen(match, options) or found
    return found


def _chosen(match: re.Match[str], options: Sequence[str] | None) -> str | None:
    number = match["number"]
    if number is None:
        named = (match["letter"] or match["dressed"]).upper()
        return named if named in _letters(options) else None
    if options is None or not _COUNTED.match(match.string, match.end()):  # "the answer is 3 metres" is no label
        return None
    texts = [_plain(option) for option in options]
    if texts.count(number) == 1:  # an option that is this number goes before the option of this number
        return ascii_uppercase[texts.index(number)]
    return ascii_uppercase[int(number) - 1] if 1 <= int(number) <= len(options) else None


def _plain(text: str) -> str:
    """A text without case, spaces, dollars and the commands around words."""
    return _UNDRESSED.sub("", text[:10_000]).casefold().rstrip(".")
