r"""Notation that means the same: the one place where a gold answer and an answer are written alike before they meet.

Math-Verify has a normaliser of its own, which runs after this. Here is what that lacks, so what this reads is accepted
where Math-Verify alone would not: wrappers around an answer, Unicode with full-width characters, thousands with thin
spaces (or with spaces, where nothing else is there: `12 000`), scientific notation (`3e8` would be 3 * e * 8), mixed
numbers with a slash (`6 1/2`), a full stop after a decimal, written units (also `90度`), a sign before the answer
(`\approx 12`, `= 12`), and repeating decimals: `0.1\overline{6}`, `0.1\dot{6}`, and `0.1666\ldots`, if its last digits
repeat: one digit three times, or several twice.

Nothing here changes a value, and everything is done to both sides.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SYMBOLS = {
    "−": "-", "–": "-", "﹣": "-", "-": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": r"\div ", "∞": r"\infty ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "π": r"\pi ", "∅": r"\emptyset ", "％": "%", "，": ", ",
    "。": ".", "、": ", ", "≈": r"\approx ", "≃": r"\approx ", "…": r"\ldots ", "\u3000": " ",
    "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u200b": "", "\ufeff": "",
}  # fmt: skip
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SYMBOLS.update({chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if chr(code + 0xFEE0) not in _SYMBOLS})
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_ROOT = re.compile(r"√\s?(?:(\d+|[a-zA-Z])|\{([^{}]*)\}|\(([^()]*)\))")
_INDEXED_ROOT = re.compile(r"(\\sqrt\s?\[[^\]\[]*\])\s?(\w)")

_THIN = re.compile(r"(?<![\d.,])(\d{1,3})((?:(?:,?\\!|\\[,;: ])\s?\d{3})+)(?!\d)")
_SPACED = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_EDGE = r"(?:\s|~|\\[,;:! ]|\\q?quad(?![a-zA-Z])|\\displaystyle(?![a-zA-Z])|\*\*)"
_EDGES = re.compile(rf"^{_EDGE}+|(?:{_EDGE}|(?<!\d\.)(?<!\\)\.)+$")
_PAIRS = [
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    (r"\boxed{", "}"),
    (r"\fbox{", "}"),
    (r"\underline{", "}"),
    ("{", "}"),
]
_NO_SPACE = re.compile(r"(?<!\\)\\!")
_SPACE = re.compile(r"(?<!\\)\\[,;: ]|~")  # not the line break of a matrix
_FRAC = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_BOLD = re.compile(r"\\(?:boldsymbol|bm|pmb)(?![a-zA-Z])")
_BIG = re.compile(r"\\[bB]igg?[lrm]?(?=\s?[\[\]()|{}\\])")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|operatorname)\s?\{([ei])\}")
_DIGITS = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s?\{\s?(-?[\d.,]+)\s?\}")
_DOLLAR = re.compile(r"\\(?:text|mathrm)\s?\{\s?\\?\$\s?\}")
_CURRENCY = re.compile(r"(?<=[\d}.])\s*(?:US\s)?(?:dollars?|USD|euros?|EUR)$")
_SIGN = re.compile(r"^(-?)(?:[€£¥￥₹]|\\\$)\s?(?=[\d.])")
_PERCENT = re.compile(r"\s*(?:\\%|%|\\text\{\s?(?:percent|\\?%)\s?\}|(?<=[\d\s])percent(?:age)?)")
_EXPONENT = re.compile(r"(?<![\w.}])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,3})(?![\w.])")
_MIXED = re.compile(r"(-?\d+)\s+(\d+)\s?/\s?(\d+)")
_IMAGINARY = re.compile(r"(?<=[\d}])\s?i(?![a-zA-Z])")
_GREATER = re.compile(r"(>=?|\\ge(?:q|qslant)?(?![a-zA-Z])|\\gt(?![a-zA-Z]))")
_OTHER_RELATION = re.compile(r"[<>=,;]")

_BEFORE = re.compile(r"^(?:\s{0,3}(?:=|:=|\\(?:approx|simeq|cong|doteq)(?![a-zA-Z])))+\s{0,3}(?=\S)")
_REPEATING = re.compile(
    r"(?<![\d.,}])(?P<whole>\d{1,12})?\.(?P<once>\d{0,12})"
    r"(?:\\(?:overline|bar)\s?\{(?P<bar>\d{1,12})\}|\\dot\s?\{?(?P<first>\d)\}?(?:(?P<more>\d{0,10})\\dot\s?\{?(?P<last>\d)\}?)?)"
    r"(?!\d)"
)
_TRAILING = re.compile(
    r"(?<![\d.,}])(?P<whole>\d{1,12})\.(?P<digits>\d{2,40})\s?(?:\\(?:[lc]?dots|cdots)(?![a-zA-Z])|\.{3})"
)
_REPEATED = re.compile(r"(?P<once>\d*?)(?:(?P<one>\d)(?P=one){2,}|(?P<several>\d{2,12}?)(?P=several)+)")

_GROUP = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname)\s?\{([^{}]*)\}"
_WORDS = re.compile(_GROUP)
_UNIT = re.compile(r"(?<=[\d}\s)])\s*\\(?:text|textbf|textrm|mathrm|mbox)\s?\{[^{}]*\}(?:\^\s?(?:-?\d|\{-?\d\}))?$")
_PLAIN_UNIT = re.compile(
    r"(?<=[\d}])(?:\s*(?:(?:square|sq\.?|cubic)\s)?(?:[ckm]m|[mk]g|(?i:ft|feet|foot|inch(?:es)?|(?:milli|centi|kilo)?met(?:er|re)s?"
    r"|yards?|miles?|mph|lbs?|pounds?|grams?|hours?|hrs?|min(?:ute)?s?|sec(?:ond)?s?|days?|weeks?|months?|years?|degrees?"
    r"|units?|people|ways))|\s+[mg])(?:\s?\^\s?(?:\d|\{\d\}))?$"
)
_DEGREES = re.compile(r"(?<=[\d０-９}])\s?度")
_CHINESE_UNIT = re.compile(
    r"(?<=[\d}])\s?(?:平方|立方)?(?:千米|公里|厘米|毫米|分米|米|千克|公斤|毫升|克|吨|升|元|角|分钟|分|小时|秒|天|年|个月|个|人|岁|种|次|名|只|本|张|件|支|棵|辆|页|步|厘米)$"
)
_LIST_WORD = re.compile(r"\{\s*(?:and|or)\b")


def plain(text: str) -> str:
    r"""`plain(r"\,1\,000. ")` is `"1000"`, `plain("3e8")` is `r"3\times 10^{8}"`, `plain("x²")` is `"x^{2}"`."""
    text = _TRAILING.sub(_with_a_period, _ascii(text))  # before its dots are a full stop
    text = _unwrapped(_BEFORE.sub("", _unwrapped(text)))
    if _SPACED.fullmatch(text):
        text = text.replace(" ", "")
    text = _THIN.sub(lambda m: m[1] + "".join(c for c in m[2] if c.isdigit()), text)
    text = (
        text.replace("{,}", ",")
        .replace("{:}", ":")
        .replace(r"\degree", r"^\circ")
        .replace(r"\varnothing", r"\emptyset")
    )
    text = _FRAC.sub(r"\\frac", _SPACE.sub(" ", _NO_SPACE.sub("", text)))
    text = _BOLD.sub(r"\\mathbf", _BIG.sub("", text))
    text = _DIGITS.sub(r"\1", _UPRIGHT.sub(r"\1", _DOLLAR.sub("", text)))
    if (match := _WORDS.fullmatch(text)) and re.search(r"[\d,]", match[1]):  # `\text{5 and 6}`
        text = match[1].strip()
    text = _REPEATING.sub(_with_a_bar, text)
    text = _INDEXED_ROOT.sub(r"\1{\2}", text)
    text = _PERCENT.sub(r"\\%", _CURRENCY.sub("", _SIGN.sub(r"\1", text)))
    text = _EXPONENT.sub(r"\1\\times 10^{\2}", text)
    text = _IMAGINARY.sub(" i", text)
    if match := _MIXED.fullmatch(text):
        text = rf"{match[1]}\frac{{{match[2]}}}{{{match[3]}}}"
    return _ascending(text).strip()


def without_unit(text: str) -> str:
    r"""`without_unit(r"5\text{ cm}^2")` and `without_unit("5 cm")` are `"5"`."""
    match = _UNIT.search(text) or _PLAIN_UNIT.search(text) or _CHINESE_UNIT.search(text)
    return text[: match.start()].strip() if match and not _LIST_WORD.search(match.group()) else text


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    text = _SUPERSCRIPT.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m.group()) + "}", text)
    text = _VULGAR.sub(_fraction, text)
    text = _DEGREES.sub(r"^\\circ ", text)
    text = "".join(_SYMBOLS.get(character, character) for character in text)
    return _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2] or m[3] or ''}}}", text)


def _fraction(match: re.Match[str]) -> str:
    over, under = unicodedata.normalize("NFKC", match.group()).split("\u2044")
    return rf"\frac{{{over}}}{{{under}}}"


def _with_a_bar(match: re.Match[str]) -> str:
    period = match["bar"] or match["first"] + (match["more"] or "") + (match["last"] or "")
    return _repeating(match["whole"] or "0", match["once"], period)


def _with_a_period(match: re.Match[str]) -> str:
    digits = _REPEATED.fullmatch(match["digits"])
    if digits is None:  # 3.14159...
        return match.group()
    return _repeating(match["whole"], digits["once"], digits["one"] or digits["several"])


def _repeating(whole: str, once: str, period: str) -> str:
    shift, nines = 10 ** len(once), 10 ** len(period) - 1
    value = Fraction(int(whole + once), shift) + Fraction(int(period), shift * nines)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _unwrapped(text: str) -> str:
    """Without what stands around it: spaces, dollars, a full stop, bold asterisks, boxes, braces."""
    for _ in range(8):  # nested as deep as anybody writes
        before = text
        text = _EDGES.sub("", text)
        for opening, closing in _PAIRS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening) and text.startswith(opening) and text.endswith(closing) and _balanced(inner):
                text = inner
        if text == before:
            break
    return text[:-1] if re.fullmatch(r"[+-]?[\d,]+\.", text) else text


def _balanced(text: str) -> bool:
    r"""Whether a text stands by itself: no brace, dollar or parenthesis of it is closed or opened outside."""
    depth = 0
    for mark in re.findall(r"\\.|[{}$]", text, flags=re.DOTALL):
        if mark in ("$", r"\(", r"\)", r"\[", r"\]"):
            return False
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if depth < 0:
            return False
    return depth == 0


def _ascending(text: str) -> str:
    """A chain `2 > x > 1` from its other end, which Math-Verify would not turn."""
    parts = _GREATER.split(text, maxsplit=2)
    if len(parts) != 5 or any(_OTHER_RELATION.search(part) or not part.strip() for part in parts[::2]):
        return text
    ends = ["<" if sign in (">", r"\gt") else r"\le" for sign in parts[1::2]]
    return f"{parts[4].strip()} {ends[1]} {parts[2].strip()} {ends[0]} {parts[0].strip()}"
