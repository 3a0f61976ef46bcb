r"""Which option a text names: in a box, after "answer is", or by a letter that stands alone. For `arc` and `letter`.

Each search finds an option's letter, `SEVERAL` if the text names more than one, or None if it names none. Several are
named by letters that a comma, a slash, `and`, `or` or nothing but a space joins: `A, B`, `A/B`, `(A) or (C)`, `A B`;
and by labels that are joined so: `A. red, B. blue`. A letter before a verb begins a sentence ("A, B is wrong").

A box holds a letter where that is all, or where a label or words begin with it: `B`, `(B)`, `B. blue`, `E: text`,
`B \text{ because}`, `(D) 5`. It holds none where the letter is a part of mathematics: `B = 3`, `A+1`, `C_2`, `A\cap B`.

Every search is linear in the length of the text: repetitions are bounded, or cannot overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

#: What a text with several options is found to hold; like None it is no letter.
SEVERAL = ""

_HALF_WIDTH = {code + 0xFEE0: code for code in range(0x21, 0x7F)} | {0x3010: "(", 0x3011: ")", 0x3000: " ", 0x3002: "."}

# What may stand around a letter: emphasis, quotes, a parenthesis, a dollar, a text command, a box.
_DRESS = r"(?:\\\(|\\?(?:boxed|fbox|text|textbf|mathbf|mathrm)\{|[\s*_(\"'“‘\[{`$:]){0,8}"
_CLOSING = r"(?:\\[)]|[\s*_)\"'”’\]}`$]){0,8}"
# Not the first letter of a word, not the whole part of a decimal, not a count of something.
_END = r"(?=[\u3400-\u9fff]|[^\w'’^=+/-]|$)"
_CHOICE = rf"(?:(?P<letter>[A-Z])|(?P<dressed>(?<=[({{*])[a-z])(?=[)}}*])|(?P<number>\d{{1,2}})(?![.,]\d)){_END}"
# A small letter is one where a sentence ends with it, or gives its reason.
_SENTENCE_END = r"[)}\]*_$\"'”’`]{0,4}(?:[.,;:!]?\s{0,3}(?:\n|$)|[.,;:!]\s|(?<=\))\s|\s(?:because|since|as)\b)"
_STATED_CHOICE = rf"(?:{_CHOICE}|(?P<small>[a-j])(?={_SENTENCE_END}))"
_IS = r"(?:\s{1,3}(?:is|was|would\sbe|must\sbe|should\sbe))?"
_STATED = re.compile(
    rf"(?:(?i:answer{_IS}|(?:choice|option)\s{{1,3}}is)(?i:\s{{1,3}}(?:option|choice))?"
    r"|(?:答案|(?:正确)?选项(?=[是为應应:]))\s?(?:应该|應該|应|應)?(?:是|为|為)?(?:选项?|選項?)?|(?<![不能])(?:故|应|應|所以|因此)?(?:选择|選擇|选|選)(?:是|为)?)"
    rf"{_DRESS}(?:{_STATED_CHOICE}|(?P<slashed>[A-Z](?:\s?/\s?[A-Z])+(?!\w)))"
)
_BEST = re.compile(
    rf"(?i:best\sanswer\sis)(?i:\s{{1,3}}(?:option|choice))?{_DRESS}"
    rf"(?:{_STATED_CHOICE}|(?P<slashed>[A-Z](?:\s?/\s?[A-Z])+(?!\w)))"
)
_BOXED = re.compile(rf"(?i:\\text\{{\s?)?(?i:(?:option|choice|answer)\s)?{_DRESS}{_CHOICE}")
_COUNTED = re.compile(r"[\s)}\]*_$.,;\"'”’`\\]{0,6}(?:\n|$)")
_ALONE = re.compile(r"(?<![\w'’\\^{}=+/-])([A-Z])(?![\w'’^=+/-])")
# "A" and "I" before a small word are English, unless that word goes on about the choice.
_ENGLISH = re.compile(r"[AI]\s(?!(?:is|because|since|as|and|or)\b)[a-z]")

_AND = r"(?:and|or|&|\\&|,\s?(?:and|or)|,|;|和|或|、|及|与)"
_JOINED = re.compile(
    rf"{_CLOSING}(?:\\(?:text|mathrm|textbf)\s?\{{\s?)?{_AND}(?:\s?\}})?"
    rf"(?:\s{{1,2}}(?:also|maybe|perhaps|possibly|even|both|option|choice)\b)?{_DRESS}(?P<other>[A-Z])"
    r"(?=[\u3400-\u9fff]|[^\w'’^=]|$)(?P<rest>[^\n]{0,40})",
    flags=re.IGNORECASE,
)
_SPACED = re.compile(r"(?:\\[ ,;:!]|\\q?quad|[\s~)(}{*$]){1,8}(?P<other>[A-Z])(?=[\s~)}*$\\]|$)(?P<rest>[^\n]{0,40})")
_ADDED = re.compile(rf"{_CLOSING}[/+]{_DRESS}(?P<other>[A-Z])(?!\w)(?P<rest>)")  # in a box it may be mathematics
_VERB = re.compile(r"\s(?:[a-z]*s|can|cannot|doesn['’]t|isn['’]t|would|could|will|may|might)\b(?!\s(?:both|all))")
_OTHER_LABEL = re.compile(
    rf"(?:\b(?:and|or)\b|[,;&/\n]|\\\\|\\quad)(?:\s?\}})?{_DRESS}(?P<other>[A-Z])(?:[.:](?=\s)|\))"
)
_REASON = re.compile(r"\b(?:because|since|not|wrong|incorrect|unlike|than|while|whereas|but)\b", flags=re.IGNORECASE)
_LABEL = re.compile(rf"\s?[.):]{_CLOSING}")
_DASH = re.compile(rf"^\s?[.):–—-]?{_CLOSING}")
_FUNCTION = re.compile(r"\((?:[a-z]|\d{1,3})(?:,\s?(?:[a-z]|\d{1,3}))?\)")
_MATHEMATICS = re.compile(
    r"(?:\\[,;:! ]|\\q?quad(?![a-zA-Z])|[\s)}$])*(?:[=+*/<>^_|!≤≥≠≈±∩∪×·]|-\s?(?:[\d\\(]|[a-zA-Z](?![a-zA-Z]))"
    r"|\\(?!text|mathrm|mathbf|mbox|q?quad|(?:right|left)(?![a-z])|because)[a-zA-Z{])"
)
_PRODUCT_OR_SUM = re.compile(r"\s?(?:[+*/<>^_∩∪×·]|\\(?:cap|cup|times|cdot|to|subset|in)(?![a-zA-Z]))")
_BEFORE_ALONE = re.compile(rf"(?<![\w'’\\^])(?P<other>[A-Z]){_CLOSING}\s?(?P<and>{_AND}|[/+]){_DRESS}$")
_UNDRESSED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|left|right)(?![a-zA-Z])|[\s${}~,]|\\[ ,;!]")


def half_width(text: str) -> str:
    """With the letters, digits and brackets of ASCII in place of their full-width forms, character by character."""
    return text if text.isascii() else text.translate(_HALF_WIDTH)


def in_box(boxed: str, options: Sequence[str] | None) -> str | None:
    """The option that a box holds: by its text, if one alone has it, or by its letter or number."""
    texts = [_plain(option) for option in options or []]
    if texts.count(_plain(boxed)) == 1:
        return ascii_uppercase[texts.index(_plain(boxed))]
    match = _BOXED.match(boxed)
    if match is None:
        if len(boxed) == 1 and boxed.islower():
            return boxed.upper() if boxed.upper() in _letters(options) else None
        return None
    found = _chosen(match, options)
    if not found or match["number"]:
        return found
    rest = boxed[match.end() : match.end() + 1_000]
    if texts and _plain(_DASH.sub("", rest)) == texts[ascii_uppercase.index(found)]:
        return found
    if _names_another(match, found, options, in_box=True):
        return SEVERAL
    label = _LABEL.match(rest)
    if label is None:
        return None if _MATHEMATICS.match(rest) or _FUNCTION.match(rest) else found
    if rest.lstrip().startswith(")") and _PRODUCT_OR_SUM.match(rest, label.end()):
        return None
    named = {other["other"] for other in _OTHER_LABEL.finditer(_before_reason(rest))} & set(_letters(options))
    return SEVERAL if named - {found} else found


def whole(text: str, options: Sequence[str] | None) -> str | None:
    """The option of a text that is only a letter or a label, as in a box. A sentence that rejects some is none."""
    found = in_box(text.strip().rstrip(".:)"), options)
    return None if found == SEVERAL and _REASON.search(text) else found


def stated(text: str, options: Sequence[str] | None) -> str | None:
    """The option of the last "answer is X"."""
    return _last(_STATED.finditer(text), options)


def best(text: str, options: Sequence[str] | None) -> str | None:
    """The option of the last "best answer is X"."""
    return _last(_BEST.finditer(text), options)


def alone(text: str, options: Sequence[str]) -> str | None:
    """The last letter of an option that stands alone."""
    last = None
    for match in _ALONE.finditer(text):
        if match.group(1) in _letters(options) and not _ENGLISH.match(text, match.start()):
            last = match
    if last is None:
        return None
    before = _BEFORE_ALONE.search(text, max(0, last.start() - 40), last.start())
    if before is None or before["other"] == last.group(1) or before["other"] not in _letters(options):
        return last.group(1)
    return last.group(1) if _VERB.match(text, last.end()) and before["and"] != "or" else SEVERAL


def _letters(options: Sequence[str] | None) -> str:
    return ascii_uppercase if options is None else ascii_uppercase[: len(options)]


def _last(matches: Iterable[re.Match[str]], options: Sequence[str] | None) -> str | None:
    """The last match that names an option, or several."""
    found = None
    for match in matches:
        if match["slashed"]:
            named = set(match["slashed"]) & set(_letters(options))
            found = SEVERAL if len(named) > 1 else (named.pop() if named else found)
        elif chosen := _chosen(match, options):
            found = SEVERAL if _names_another(match, chosen, options, in_box=False) else chosen
    return found


def _chosen(match: re.Match[str], options: Sequence[str] | None) -> str | None:
    number = match["number"]
    if number is None:
        named = next(group for name, group in match.groupdict().items() if group and name != "number").upper()
        return named if named in _letters(options) else None
    if options is None or not _COUNTED.match(match.string, match.end()):  # "the answer is 3 metres" is no label
        return None
    texts = [_plain(option) for option in options]
    if texts.count(number) == 1:  # an option that is this number goes before the option of this number
        return ascii_uppercase[texts.index(number)]
    return ascii_uppercase[int(number) - 1] if 1 <= int(number) <= len(options) else None


def _names_another(match: re.Match[str], chosen: str, options: Sequence[str] | None, *, in_box: bool) -> bool:
    """Whether the letter of a match is joined to that of another option."""
    text, place = match.string, match.end()
    joined = _JOINED.match(text, place) or (_SPACED if in_box else _ADDED).match(text, place)
    if joined is None or joined["other"] == chosen or joined["other"] not in _letters(options):
        return False
    return _VERB.match(joined["rest"]) is None and not _ENGLISH.match(joined["other"] + joined["rest"])


def _before_reason(text: str) -> str:
    reason = _REASON.search(text)
    return text[: reason.start()] if reason else text


def _plain(text: str) -> str:
    """A text without case, spaces, dollars and the commands around words."""
    return _UNDRESSED.sub("", text[:10_000]).casefold().rstrip(".")
