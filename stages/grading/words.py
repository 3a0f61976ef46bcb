r"""Answers in words, and in letters whose order counts: `\text{East}` is `east`, and `HTTH` is not `HHTT`.

Math-Verify reads a run of letters as a product, which commutes. These rules are stricter, and which run is a word is a
guess from its form, as nothing else tells `listen` from `abc`:

- Case is free in `\text{...}` (and textbf, textit, textrm, mbox), and of a natural word: lower-case, upper-case or
  capitalised, three letters or more (in capitals four) with a vowel among them, no piece of the alphabet (`abc`); also
  `no`, `YES` and a few more. The letters of all else keep their case.
- The order counts in a word of `\text{...}`, in three or more capitals, in five or more letters, where one of three or
  more letters is there twice (a product has a power), and in a natural word that is not in the order of the alphabet.
  So `ab` is `ba`, `xyz` is `zxy`, and two capitals stay a product (the segment `AB` is `BA`), unless a list would hold
  one of them twice (`HT, TH`).
- A sequence of letters (as above, but for three capitals that differ and short natural words) is not the product of its
  letters either: `HTTH` is not `H^2T^2`.
"""

from __future__ import annotations

import re
from collections import Counter

_TEXT = r"\\(?:text|textbf|textit|textrm|mbox)\s?\{([^{}]*)\}"
_GROUP = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname)\s?\{([^{}]*)\}"
_TEXTS, _GROUPS = re.compile(_TEXT), re.compile(_GROUP)
_BETWEEN = re.compile(r"\\(?:left|right)(?![a-zA-Z])|(?<!\d)\s|\s(?!\d)|\$")  # "1 2" is not 12
_PLAIN_WORDS = re.compile(r"[^\W_]+(?:[-'’.,:;!?][^\W_]+)*")
_TIMES = re.compile(r"(?<=[a-zA-Z])\s?(?:\\cdot|\\times|\*)\s?(?=[a-zA-Z](?![a-zA-Z]))")
_TOKEN = re.compile(r"[^\W\d_]+")
_VOWEL = re.compile("[aeiouy]", flags=re.IGNORECASE)
_BETWEEN_ITEMS = re.compile(
    r"(\\(?:text|mathrm)\s?\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|[,;]|\\[{}]|\\(?:left|right)(?![a-zA-Z])|[()\[\]])"
)
_SHORT = frozenset(["no", "yes", "odd", "all", "one", "two", "six", "ten"])
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def verdict(gold: str, answer: str) -> bool | None:
    """Whether two answers in words or letters are one; None where that is for Math-Verify to say."""
    one, two = _bare(gold), _bare(answer)
    if one == two or _with_folded_texts(gold) == _with_folded_texts(answer):
        return True
    if one.casefold() == two.casefold() and _are_words(gold, answer):
        return True
    run, other = _run(gold), _run(answer)
    if run is None or other is None:
        return None
    if run == other:
        return True
    if Counter(run) == Counter(other) and not _has_an_order(gold, run):
        return None  # a product
    return False


def opaque(gold: str, answer: str) -> tuple[str, str]:
    r"""Both with the sequences of letters in `\text{...}`, where the gold answer is one, or a list with one."""
    run = _run(gold)
    if run is not None:
        if not _is_sequence(gold, run):
            return gold, answer
        return rf"\text{{{run}}}", re.sub(rf"(?<![a-zA-Z\\{{]){run}(?![a-zA-Z}}])", rf"\\text{{{run}}}", answer)
    items = _items(gold)
    if len(items) < 2 or not all(item.isascii() and item.isalpha() for item in items):
        return gold, answer
    in_words = _TEXTS.search(gold) or all(_is_natural(item) for item in items)
    if in_words or any(_is_sequence(item, item) for item in items) or _collide(items) or _collide(_items(answer)):
        return _with_texts(gold), _with_texts(answer)
    return gold, answer


def _bare(text: str) -> str:
    bare = _BETWEEN.sub("", _GROUPS.sub(r"\1", text)).rstrip(".")
    while bare.startswith("(") and bare.endswith(")") and bare[1:-1].isalpha():
        bare = bare[1:-1]
    return bare


def _are_words(gold: str, answer: str) -> bool:
    """Whether both consist of words, by their form or because one of them is in text."""
    both = [_BETWEEN.sub(" ", _GROUPS.sub(r"\1", text)).strip().rstrip(".") for text in (gold, answer)]
    if not all(_PLAIN_WORDS.fullmatch(each) for text in both for each in text.split()):
        return False
    return all(map(_is_natural, both)) or any(
        _TEXTS.search(text) and not _TOKEN.search(_TEXTS.sub(" ", text)) for text in (gold, answer)
    )


def _with_folded_texts(text: str) -> str:
    """Bare, and in lower case in its `\\text{...}`, beside which there may be mathematics."""
    return _bare(_TEXTS.sub(lambda match: match[1].casefold(), text))


def _run(text: str) -> str | None:
    r"""The letters of a text that has two or more and nothing else: `HTH`, `H T H`, `H\cdot T\cdot H`, `\text{HTH}`."""
    bare = _bare(_TIMES.sub("", text))
    return bare if len(bare) > 1 and bare.isascii() and bare.isalpha() else None


def _is_natural(text: str) -> bool:
    """Whether letters look like words of a language."""
    tokens = _TOKEN.findall(text)
    if not all((token.islower() or token.isupper() or token.istitle()) and len(token) > 1 for token in tokens):
        return False
    return any(token.casefold() in _SHORT or (len(token) > 2 and _looks_natural(token)) for token in tokens)


def _looks_natural(token: str) -> bool:
    if (len(token) == 3 and token.isupper()) or (token.isascii() and token.lower() in _ALPHABET):
        return False
    return _VOWEL.search(token) is not None


def _has_an_order(text: str, run: str) -> bool:
    natural = _is_natural(run) and list(run.lower()) != sorted(run.lower())
    return natural or (len(run) >= 3 and run.isupper()) or _is_sequence(text, run)


def _is_sequence(text: str, run: str) -> bool:
    """Whether letters are no product for sure."""
    repeated = len(run) >= 3 and len(set(run)) < len(run)
    return repeated or len(run) >= 5 or (len(run) >= 4 and run.isupper()) or _TEXTS.search(text) is not None


def _items(text: str) -> list[str]:
    """What stands between commas, brackets and the words `and` and `or`, without its command."""
    items = (_GROUPS.sub(r"\1", item).strip() for item in _BETWEEN_ITEMS.split(text)[::2])
    return [item for item in items if item]


def _collide(items: list[str]) -> bool:
    """Whether two different items would be one product."""
    runs = {item for item in items if len(item) > 1 and item.isascii() and item.isalpha()}
    return len({tuple(sorted(run)) for run in runs}) < len(runs)


def _with_texts(text: str) -> str:
    pieces = _BETWEEN_ITEMS.split(text)
    for place in range(0, len(pieces), 2):
        item = pieces[place].strip()
        if len(item) > 1 and item.isascii() and item.isalpha():
            pieces[place] = rf"\text{{{item}}}"
    return "".join(pieces)
