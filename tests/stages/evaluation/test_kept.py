"""What was generated is kept, whatever ends the process that generates."""

from pathlib import Path

from stages.evaluation.kept import Answer, Kept
from stages.generation.engine import Completion


def completions(*texts: str) -> list[Completion]:
    return [Completion(token_ids=list(range(len(text))), text=text, finished=True) for text in texts]


def test_answers_are_there_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "file")
    kept.add(7, completions("one\ntwo", "\u2028 \x00"))
    again = Kept(tmp_path / "file")
    assert again.answers == {7: [Answer("one\ntwo", 7, True), Answer("\u2028 \x00", 3, True)]}


def test_a_line_that_was_cut_short_is_forgotten_and_the_next_one_is_whole(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "file")
    kept.add(0, completions("a"))
    kept.add(1, completions("b"))
    kept.close()
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-3])
    again = Kept(tmp_path / "file")
    assert list(again.answers) == [0]
    again.add(1, completions("c"))
    assert Kept(tmp_path / "file").answers[1] == [Answer("c", 1, True)]


def test_what_no_file_can_hold_is_replaced(tmp_path: Path) -> None:
    assert Kept(tmp_path / "file").add(0, completions("\ud800x"))[0].text == "?x"
