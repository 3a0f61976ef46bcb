"""Comments of a YAML file as data."""

from pathlib import Path

import pytest

from docs import source_lines
from docs.source_lines import Fixed, OfKey


def read(folder: Path, text: str) -> list[OfKey | Fixed]:
    (folder / "some.yaml").write_text(text)
    return source_lines.read(folder / "some.yaml")


def test_three_cells_behind_a_value(tmp_path: Path) -> None:
    text = "beta: 0.001  # B: 0.001 | verl kl_loss_coef, 0.001 |\nplain: 1  # a comment\nbare: 2\n"
    assert read(tmp_path, text) == [OfKey(("beta",), "B: 0.001", "verl kl_loss_coef, 0.001", "")]


def test_a_comment_goes_on_where_it_is_indented_deeper_than_the_key(tmp_path: Path) -> None:
    text = "a:\n  b: [1,\n    2]  # x | y |\n      # z\n   # and more\n  # nothing of b\n  c: 3\n"
    assert read(tmp_path, text) == [OfKey(("a", "b"), "x", "y", "z and more")]


def test_signs_in_a_value_are_no_comment(tmp_path: Path) -> None:
    text = "a: \"{{ x | trim }} # no | comment | here\"  # x | y | z\nb: {c: 'd # | |'}\n"
    assert read(tmp_path, text) == [OfKey(("a",), "x", "y", "z")]


def test_a_text_has_its_comment_where_it_begins_and_none_inside(tmp_path: Path) -> None:
    text = "a: |-  # x | y | z\n  # no | comment | here\n  #: a | b | c | d | e\nb: 1\n"
    assert read(tmp_path, text) == [OfKey(("a",), "x", "y", "z")]


def test_a_block_has_its_comment_above(tmp_path: Path) -> None:
    text = "a:  # x | y | z\n  # a comment of b\n  b: 1  # u | v |\n"
    assert read(tmp_path, text) == [OfKey(("a",), "x", "y", "z"), OfKey(("a", "b"), "u", "v", "")]


def test_what_no_key_says_is_a_line_of_its_own(tmp_path: Path) -> None:
    text = (
        "a: 1  # x | y |\n#: KL | in the loss | use_kl_in_reward, false | stages/x.py |\n#  a remark\n#  of two lines\n"
    )
    assert read(tmp_path, text) == [
        OfKey(("a",), "x", "y", ""),
        Fixed("KL", "in the loss", "use_kl_in_reward, false", "stages/x.py", "a remark of two lines"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2  # x | y\n", "some.yaml:2: a source line of 2 cells, not 3: 'x | y'"),
        ("a: 1\n#: w | x | y |\n", "some.yaml:2: a source line of 4 cells, not 5: 'w | x | y |'"),
    ],
)
def test_another_number_of_cells_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, text)
    assert str(caught.value).endswith(message)
