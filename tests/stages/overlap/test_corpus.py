import pytest

from stages.overlap.corpus import encode


def test_words_are_numbered_as_they_come_and_texts_end() -> None:
    corpus = encode([{"prompt": "One two", "completion": "two, three."}, {"completion": "one"}])
    assert corpus.vocabulary == {"one": 1, "two": 2, "three": 3}
    assert corpus.numbers.tolist() == [1, 2, 0, 2, 3, 0, 1, 0]
    assert [corpus.row(position) for position in range(8)] == [0] * 6 + [1] * 2


def test_equal_texts_of_a_row_are_read_once_and_lists_text_by_text() -> None:
    corpus = encode([{"question": "a b", "prompt": "a b", "choices": ["c", "d e"], "count": 3}])
    assert corpus.numbers.tolist() == [1, 2, 0, 3, 0, 4, 5, 0]


@pytest.mark.parametrize(
    ("text", "row"),
    [("two  PLUS two", 0), ("a-b", 1), ("a+b.", 2), ("a b", 4), ("Four", None), ("", None), ("...", None)],
)
def test_a_whole_question_is_that_of_the_first_row_with_the_same_characters(text: str, row: int | None) -> None:
    rows = [
        {"question": "Two plus two?", "prompt": "Human: Two plus two?", "completion": "Four"},
        {"prompt": "a - b"},
        {"prompt": "a + b"},
        {"prompt": "..."},
        {"prompt": "A B"},
        {"prompt": "ab"},
    ]
    assert encode(rows).row_of_question(text) == row


def test_it_tells_how_many_rows_it_has_read() -> None:
    told: list[int] = []
    encode([{"prompt": "a"}] * 3, told.append)
    assert told == [1, 2, 3]
