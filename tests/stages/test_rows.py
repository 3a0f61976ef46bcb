"""Rows: fields are templates over columns; which rows a source has; what a bad one is told."""

import csv
import json
import math
import os
from datetime import date
from decimal import Decimal
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
    assert "row 1, column context, field answer: '{{ context }}' cannot be filled: a value is null" in refused(
        "{{ context }}"
    )
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
        ("choices", "answerKey", 'cannot be filled: a text, not a list of texts ("2")'),
        ("choices", "choices", 'cannot be filled: it gives {"text": ["one", "two"], "label": ["1", "2"]}, not a list'),
        ("choices", "row.nothing", "cannot be filled: 'dict object' has no attribute 'nothing'"),
        ("question", "{{ context or '' }} ", "field question: \"{{ context or '' }} \" is empty"),
        ("prompt", "{# nothing #}", "field prompt: '{# nothing #}' is empty"),
    ],
)
def test_a_bad_template_is_named_with_what_is_wrong(field: str, text: str, message: str) -> None:
    assert message in refused(text, field)


#: Values that are no texts, and what a message says of each.
NO_TEXTS = [
    ([{"role": "user", "content": "hi"}], "a conversation ("),
    ([{"from": "human", "value": "hi"}], "conversations are not supported yet; give one text in each column"),
    (["a", "b"], 'a list, not a text (["a", "b"])'),
    ({"text": "a"}, 'an object, not a text ({"text": "a"})'),
    (True, "a boolean (true), not a text"),
    (math.nan, "no number (NaN)"),
    (-math.inf, "no number (-Infinity)"),
    (None, "a value is null"),
    ("a\ud800", 'half a character, which no file can hold ("a\\ud800")'),
    (b"a", "a value of the type bytes, not a text"),
]
#: Ways in which a template makes a text of a value.
WRITING = ["{{ x }}", "{{ x | trim }}", "{{ 'Q: ' ~ x }}", "{{ '%s' % x }}", "{{ [x] | join }}", "{{ row['x'] | e }}"]


@pytest.mark.parametrize("template", WRITING)
@pytest.mark.parametrize(("value", "what"), NO_TEXTS)
def test_what_is_no_text_is_never_written_out(value: Any, what: str, template: str) -> None:
    with pytest.raises(StageError) as caught:
        fill(template, row={"x": value})
    assert "rows.jsonl, row 1, column x, field answer" in str(caught.value) and what in str(caught.value)
    str(caught.value).encode()
    with pytest.raises(StageError, match="column x"):
        fill("['A', x]", "choices", row={"x": value})


@pytest.mark.parametrize("template", ["{{ x | int }}", "{{ x | float }}"])
@pytest.mark.parametrize("value", [None, math.nan, [], {}])
def test_what_is_no_number_is_not_0(value: Any, template: str) -> None:
    with pytest.raises(StageError, match="column x"):
        fill(template, row={"x": value})
    if value == value:  # of NaN, float makes NaN again, which is refused
        assert fill(template.replace(" }", "(7) }"), row={"x": value}) in ("7", "7.0")


#: Ways in which a template makes a list of a text.
LISTING = [
    *("x | list", "x | reject('equalto', 'N/A') | list", "x | sort", "x | unique", "x | map('upper')"),
    *("x | trim | list", "x.strip()[1:] | list", "row['x'] | list", "x"),
    *("(x + '') | list", "('' + x) | list", "x.split(';')[0] | list", "x | lower | replace('a', 'b') | list"),
]


@pytest.mark.parametrize("text", LISTING)
def test_options_that_are_one_text_are_no_list_of_letters(text: str) -> None:
    with pytest.raises(StageError, match="column x, field choices: .* a text, not a list of texts"):
        fill(text, "choices", row={"x": "['a','b']"})


@pytest.mark.parametrize(
    "template",
    [
        "{{ x | join(', ') }}",
        "{% for c in x %}{{ c }}{% endfor %}",
        "{% set a, b = x %}{{ a }}",
        "{{ x | list | first }}",
    ],
)
def test_a_text_is_not_gone_through(template: str) -> None:
    with pytest.raises(StageError, match="column x, field answer: .* a text, not a list of texts"):
        fill(template, row={"x": "ab"})


def test_a_field_made_of_a_text_is_no_list_either() -> None:
    with pytest.raises(StageError, match="field choices: .* a text, not a list of texts"):
        rows.render({"options": "{{ x }}", "choices": "options | list"}, {"x": "['a','b']"}, where="")


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{{ x }}", 5, "5"),
        ("{{ x }}", 5.0, "5.0"),
        ("{{ x }}", 10**30, "1" + "0" * 30),
        ("{{ x }}", Decimal("1.50"), "1.50"),
        ("{{ x }}", date(2024, 5, 1), "2024-05-01"),
        ("{{ x | round | int }}", 5.0, "5"),
        ("{{ x }}", '[{"role": "user"', '[{"role": "user"'),
        ("{{ x }}", "nan", "nan"),
        ("{{ x | trim }}", " None ", "None"),
        ("{{ x | lower }}", True, "true"),
        ("{{ x | int }}", True, "1"),
        ("{{ 'yes' if x else 'no' }}", False, "no"),
        ("{{ x | tojson }}", [{"a": math.nan}], '[{"a": NaN}]'),
        ("{{ x[0].content }}", [{"role": "user", "content": "hi"}], "hi"),
        ("{{ x | map(attribute='content') | join(' ') }}", [{"content": "a"}, {"content": "b"}], "a b"),
        ("{{ x | join(', ') }}", [1, "b", 2.5], "1, b, 2.5"),
        ("{{ x.text[0] }}{{ x['text'] | last }}", {"text": ["a", "b"], "more": math.nan}, "ab"),
        ("{{ x[0] }}{{ x | first }}{{ x | last }}{{ x | length }}", "abc", "aac3"),
        (
            "{{ x.split(',') | join('-') }}{{ (x.partition(',') | list)[2] }}{{ x + '!' }}{{ '!' + x }}",
            "a,b",
            "a-bba,b!!a,b",
        ),
        ("{{ x.split(',')[1] }}{{ 'a' in x and '!' or '?' }}{{ x | reverse }}", "a,b", "b!b,a"),
        ("{{ '%s of %d' % (x, 2) }}{{ '{}'.format(x) }}{{ x.replace('a', 'b') ~ 1 }}", "a", "a of 2ab1"),
        ("{{ 'ABC' | list | join(x) }}", "-", "A-B-C"),
    ],
)
def test_what_a_template_may_do(template: str, value: Any, text: str) -> None:
    found = fill(template, row={"x": value, "unread": [math.nan, {"a": None}], "half": "\ud800"})
    assert found == text and type(found) is str


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
        ("rows.json", b'{"q": 1}\n{"q": 2}\n', "not JSON (Extra data); one object a line is a .jsonl file"),
        ("rows.jsonl", b'[\n{"q": 1}]', "line 1: not JSON (Expecting value); one JSON list is a .json file"),
        ("rows.jsonl", b'{"q": ' + b"9" * 5000 + b"}", "line 1: not JSON that can be read (Exceeds the limit"),
        ("rows.jsonl", b"\x1f\x8b\x08\x00", "compressed by gzip (unpack it)"),
        ("rows.csv", b"q\n" + b"1\n" * 9000 + b"\xff\n", "line 9002: not UTF-8"),
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


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(StageError, match=r"rows.jsonl: neither a file nor a folder"):
        rows.load(source(tmp_path / "rows.jsonl", q="{{ q }}"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a", "b"], pa.string_view()),
    ],
)
def test_the_kinds_of_text_of_arrow_are_texts(column: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": column, "unread": [[{"a": math.nan}], None]}), tmp_path / "rows.parquet")
    assert rows.load(source(tmp_path / "rows.parquet", q="{{ q }}")) == [{"q": "a"}, {"q": "b"}]


def test_a_row_has_its_number_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfq\r\n1\r\n\r\n2\r\n,\r\n".replace(b",", b'""'))
    assert len(rows.load(source(tmp_path / "rows.csv", "[1:]", q="{{ q }}"))) == 2
    with pytest.raises(StageError, match="rows.csv, row 3, field question: .* is empty"):
        rows.load(source(tmp_path / "rows.csv", "[1:]", question="{{ q }}"))


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


@pytest.mark.parametrize("name", ["../other.jsonl", "link/rows.jsonl", ".hidden/rows.jsonl"])
def test_a_folder_has_no_files_that_no_fingerprint_knows(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / ".hidden").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / name).write_text('{"q": "a"}\n')
    (folder / "README.md").write_text(f"---\nconfigs: [{{config_name: default, data_files: '{name}'}}]\n---\n")
    with pytest.raises(StageError, match=f"folder: the split has the file {name}, which is outside of the folder"):
        rows.load(source(folder, q="{{ q }}"))


def test_a_file_of_a_folder_may_be_a_link_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "blob").write_text('{"q": "a"}\n')
    (tmp_path / "folder" / "train.jsonl").symlink_to(tmp_path / "blob")
    assert rows.load(source(tmp_path / "folder", q="{{ q }}")) == [{"q": "a"}]


def test_a_folder_without_configs_is_not_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"q": "a", "choices": {"text": ["b"]}}\n')
    assert opened(tmp_path, "main", "test") == "ab"


def test_words_in_a_csv_that_others_take_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("q,a\nWhich of them?,None\nIts symbol?,NA\n")
    found = [rows.load(source(path, a="{{ a }}")) for path in (tmp_path, tmp_path / "test.csv")]
    assert found == [[{"a": "None"}, {"a": "NA"}]] * 2


def test_a_file_of_an_artifact_is_inside_of_it_also_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "rows.jsonl").touch()
    (folder / "link.jsonl").symlink_to(tmp_path / "other.jsonl")
    assert rows.inside(folder, "rows.jsonl") == folder / "rows.jsonl"
    for name in ("link.jsonl", "../other.jsonl", "/etc/passwd"):
        with pytest.raises(StageError, match="not inside of"):
            rows.inside(folder, name)
