import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.overlap.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Let $x_1 = 3$.", ["let", "x", "1", "3"]),
        ("What's  the\n\tSUM?", ["what", "s", "the", "sum"]),
        (r"\frac{1}{2}", ["frac", "1", "2"]),
        (r"\frac {1} { 2 }", ["frac", "1", "2"]),
        ("1,000.50 km/h", ["1", "000", "50", "km", "h"]),
        ("Straße ÉCOLE Ωmega", ["straße", "école", "ωmega"]),
        ("cafe\u0301", ["café"]),  # an accent of its own, and one that is part of its letter
        ("\uff11\uff12 \ufb01nd", ["12", "find"]),  # full-width digits, a ligature
        ("сколько будет 2+2?", ["сколько", "будет", "2", "2"]),
        ("$$ -- ∫ … $$", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits_in_lower_case(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_case_and_spacing_do_not_count(text: str) -> None:
    found = words(text)
    assert words(f"  {text}!\n") == found
    assert all(word and not word.isspace() for word in found)
