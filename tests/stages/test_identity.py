"""Fingerprints: golden, insensitive to what does not matter, and refused where they would not be stable."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.identity import fingerprint, identity

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_fingerprint_never_changes() -> None:
    preimage = identity("sft", 1, {"epochs": 2, "learning_rate": 3e-6, "loss": "nll"}, {"checkpoint": "ab" * 32})
    assert fingerprint(preimage) == "744bffb5afe2ca31a2829510fb6886d75a193841284a762f57da0ceeef92a0a5"


def test_numbers_are_canonical_and_order_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": [0.5]}) == fingerprint({"b": (0.5,), "a": 1.0})


def test_what_differs_in_meaning_differs_in_fingerprint() -> None:
    assert len({fingerprint({"a": value}) for value in (1, True, "1", None, [1], 0)}) == 6


@pytest.mark.parametrize("value", [math.nan, math.inf, Path("x"), {1, 2}, 2**60, b"x"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no fingerprint"):
        fingerprint({"a": value})


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4))
def test_reversing_the_keys_changes_nothing(config: dict[str, object]) -> None:
    backwards = dict(reversed(config.items()))
    assert fingerprint({"config": config}) == fingerprint({"config": backwards})
