"""Rows: fields are templates over columns; which rows a source has; what a bad one is told."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import rows
from stages.contract import Input, StageError

#: One row of each shape that a benchmark has: texts, a struct of lists, a column that is no name.
ROW = {
    "problem": "What is $1+1$?",
    "choices": {"text": ["one", "two"], "label": ["1", "2"]},
    "answerKey": "2",
    "Correct Answer": "two",
    "context": None,
    "id": 7,
}


def source(path: Path, split: str | None = None, **fields: str) -> Input:
    reading = {"file": None, "config": None, "split": split, "fields": fields or {"text": "{{ number }}"}}
    return Input(fingerprint="", path=path, reading=reading)


def numbered(folder: Path) -> Path:
    """Ten rows, numbered."""
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(10)))
    return file


def fill(text: str, field: str = "answer", row: dict[str, Any] = ROW) -> Any:
    return rows.render({field: text}, row, where="rows.jsonl, row 1")[field]


def refused(text: str, field: str = "answer") -> str:
    with pytest.raises(StageError) as caught:
        fill(text, field)
    return str(caught.value)


def test_a_field_sees_the_columns_and_the_fields_before_it() -> None:
    fields = {"question": "{{ problem }}", "prompt": "Human: {{ question }}\nAssistant:", "n": "{{ id }}"}
    assert rows.render(fields, ROW, where="") == {
        "question": "What is $1+1$?",
        "prompt": "Human: What is $1+1$?\nAssistant:",
        "n": "7",
    }
    assert rows.columns(fields) == {"problem", "id"}


def test_text_is_taken_as_it_is() -> None:
    assert fill("\\boxed{answer} {x} <&> {# a comment #}{{ problem }}\n") == "\\boxed{answer} {x} <&> What is $1+1$?\n"


@given(st.text().filter(lambda text: text.isprintable()))
def test_a_value_is_never_taken_for_a_template(text: str) -> None:
    assert fill("{{ x }}", row={"x": text}) == text


def test_the_whole_row_has_columns_that_are_no_names() -> None:
    assert fill("{{ row['Correct Answer'] }}") == "two"
    assert rows.columns({"answer": "{{ row['Correct Answer'] }}"}) == set()


def test_choices_are_an_expression_that_gives_texts() -> None:
    assert fill("choices.text", "choices") == ["one", "two"]
    assert fill("[row['Correct Answer'], id]", "choices") == ["two", "7"]
    assert fill("choices.text | reject('equalto', 'one')", "choices") == ["two"]
    fields = {"choices": "choices.text", "answer": "{{ 'AB'[row.choices.label.index(answerKey)] }}"}
    assert rows.render(fields, ROW, where="") == {"choices": ["one", "two"], "answer": "B"}
    assert rows.columns(fields) == {"choices", "answerKey"}


def test_what_may_be_null_is_said_in_the_template() -> None:
    assert fill("{% if context %}{{ context }} {% endif %}{{ problem }}") == "What is $1+1$?"
    assert fill("{{ context or '' }}") == ""
    assert "row 1, field answer: '{{ context }}' cannot be filled: a value is null" in refused("{{ context }}")
    assert "a value is null" in refused("[context]", "choices")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (
            "answer",
            "{{ solution }}",
            "rows.jsonl, row 1: no column solution; it has Correct Answer, answerKey, choices",
        ),
        ("answer", "{{ problem", "answer='{{ problem': no Jinja template: unexpected end of template"),
        ("answer", "{{ problem | lower | nothing }}", "no Jinja template: No filter named 'nothing'"),
        ("answer", "{{ choices.texts }}", "cannot be filled: 'dict object' has no attribute 'texts'"),
        ("answer", "{{ choices.label.index('5') }}", "cannot be filled: '5' is not in list"),
        ("answer", "{{ choices.text.append('three') }}", "cannot be filled: access to attribute 'append'"),
        ("answer", "{{ ''.__class__ }}", "cannot be filled: access to attribute '__class__'"),
        ("answer", "A: {problem}", "a column is written {{ problem }}, not {problem}"),
        ("answer", "{choices[text]}", "a column is written {{ choices }}, not {choices}"),
        ("choices", "{{ choices.text }}", "an expression that gives a list, such as choices.text, without {{ }}"),
        ("choices", "answerKey", "cannot be filled: it gives '2', not a list"),
        ("choices", "row.nothing", "cannot be filled: 'dict object' has no attribute 'nothing'"),
        ("question", "{{ context or '' }} ", "field question: \"{{ context or '' }} \" is empty"),
        ("prompt", "{# nothing #}", "field prompt: '{# nothing #}' is empty"),
    ],
)
def test_a_bad_template_is_named_with_what_is_wrong(field: str, text: str, message: str) -> None:
    assert message in refused(text, field)


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        (None, range(10)),
        ("[-3:]", range(7, 10)),
        ("[:-3]", range(7)),
        ("[2:4]", range(2, 4)),
        ("[:]", range(10)),
        ("test", range(10)),
        ("test[2:4]", range(2, 4)),
    ],
)
def test_a_part_of_a_file_which_has_no_named_splits(split: str | None, numbers: range, tmp_path: Path) -> None:
    found = rows.load(source(numbered(tmp_path), split))
    assert [row["text"] for row in found] == [str(number) for number in numbers]


def test_a_limit_counts_from_the_start_of_the_part(tmp_path: Path) -> None:
    assert [row["text"] for row in rows.load(source(numbered(tmp_path), "[-3:]"), limit=2)] == ["7", "8"]


def test_the_last_zero_rows_are_none_and_not_all(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no rows"):
        rows.load(source(numbered(tmp_path), "[-0:]"))


def test_a_split_that_is_neither_a_name_nor_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split='train\[:10%\]': the name of a split, rows, or both"):
        rows.load(source(numbered(tmp_path), "train[:10%]"))


#: What is hard to write down: quotes, commas, newlines, other alphabets.
HARD = [{"q": 'Say "a, b"\nand stop', "a": "\u4f60\u597d"}, {"q": "2", "a": "\\frac{1}{2}"}]


def written(folder: Path, suffix: str) -> Path:
    """The rows `HARD` in a file of one kind, as other programs write it."""
    file = folder / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(HARD), file)
    elif suffix == ".csv":
        with file.open("w", encoding="utf-8-sig", newline="") as lines:  # as spreadsheets do, with a BOM
            writer = csv.DictWriter(lines, ["q", "a"])
            writer.writeheader()
            writer.writerows(HARD)
    else:
        text = json.dumps(HARD) if suffix == ".json" else "\n\n".join(json.dumps(row) for row in HARD)
        file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("suffix", rows.SUFFIXES)
def test_the_kind_of_a_file_changes_nothing(suffix: str, tmp_path: Path) -> None:
    assert rows.load(source(written(tmp_path, suffix), q="{{ q }}", a="{{ a }}")) == HARD


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", b'{"q": 1}', "expected a list of objects, not dict"),
        ("rows.json", b"[1]", "row 1: expected an object with columns, not int"),
        ("rows.json", b"[" * 100_000, "not JSON"),
        ("rows.jsonl", b'{"q": 1}\n{"q": 1', "line 2: not JSON"),
        ("rows.jsonl", b'{"q": "\xff"}', "not UTF-8"),
        ("rows.csv", b"q,a\n1,2\n3\n", "line 3: not as many values as there are columns"),
        ("rows.csv", b"q,a\n1,2,3\n", "line 2: not as many values as there are columns"),
        ("rows.csv", b'q,a\n"1,2\n', "not CSV"),
        ("rows.csv", b"q,a\n", "no rows"),
        ("rows.parquet", b"PAR1", "cannot be read as parquet"),
        ("rows.txt", b"1", "a data file ends in one of .jsonl, .json, .csv, .parquet"),
        ("missing.jsonl", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_bad_file_is_refused_by_name(name: str, text: bytes | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(StageError) as caught:
        rows.load(source(tmp_path / name, q="{{ q }}"))
    assert str(tmp_path / name) in str(caught.value) and message in str(caught.value)


#: A data set as the hub has it: configs and splits by name, in the README.
CARD = """---
configs:
- config_name: hard
  data_files: [{split: train, path: hard/train-*}, {split: test, path: hard/test-*}]
- config_name: easy
  data_files: [{split: test, path: easy/test-*}]
---
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(CARD)
    for name, texts in (("hard/train", "ab"), ("hard/test", "cde"), ("easy/test", "f")):
        file = tmp_path / f"{name}-00000-of-00001.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist([{"q": text, "choices": {"text": [text]}} for text in texts]), file)
    return tmp_path


def opened(path: Path, config: str | None, split: str | None) -> str:
    reading = {"config": config, "split": split, "fields": {"q": "{{ q }}{{ choices.text[0] }}"}}
    return " ".join(row["q"] for row in rows.load(Input(fingerprint="", path=path, reading=reading)))


def test_a_folder_is_a_data_set_with_configs_and_splits(folder: Path) -> None:
    assert opened(folder, "hard", "test") == "cc dd ee"
    assert opened(folder, "hard", "test[-1:]") == "ee"
    assert opened(folder, "easy", None) == "ff"


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        ("hard", "validation", "split=validation: allowed: train, test"),
        ("hard", None, "split=None: allowed: train, test"),
        ("harder", "test", "config=harder: allowed: hard, easy"),
        (None, "test", "config=None: allowed: hard, easy"),
    ],
)
def test_what_a_folder_does_not_have(config: str | None, split: str | None, message: str, folder: Path) -> None:
    with pytest.raises(StageError) as caught:
        opened(folder, config, split)
    assert str(caught.value) == f"{folder}: {message}"


def test_a_folder_says_of_what_kind_its_columns_are(tmp_path: Path) -> None:
    columns = "[{name: id, dtype: string}, {name: choices, sequence: [{name: text, dtype: string}]}]"
    (tmp_path / "README.md").write_text(f"---\ndataset_info: {{features: {columns}}}\n---\n")
    table = pa.table({"id": ["007"], "choices": [{"text": ["north", "south"]}]})
    pq.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    found = rows.load(source(tmp_path, "test", id="{{ id }}", choices="choices.text"))
    assert found == [{"id": "007", "choices": ["north", "south"]}]


def test_a_folder_without_configs_is_not_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"q": "a", "choices": {"text": ["b"]}}\n')
    assert opened(tmp_path, "main", "test") == "ab"


def test_words_in_a_csv_that_others_take_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("q,a\nWhich of them?,None\nIts symbol?,NA\n")
    found = [rows.load(source(path, a="{{ a }}")) for path in (tmp_path, tmp_path / "test.csv")]
    assert found == [[{"a": "None"}, {"a": "NA"}]] * 2
