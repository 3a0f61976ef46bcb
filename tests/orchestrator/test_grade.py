"""The verb `grade`: lines in, the same lines out, with their grades."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.__main__ import main


def line(kind: str, gold: str, completion: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "gold": gold, "completion": completion, **more}


def grade(tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    file = tmp_path / "answers a=b.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert main(["grade", str(file)]) == 0
    return [json.loads(each) for each in capsys.readouterr().out.splitlines()]


def test_lines_come_back_in_their_order_with_their_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        line("math", "1/2", r"so \boxed{0.5}", id=7, more=[1]),
        line("math", "1/2", "so 0.5"),
        line("math", "1/2", r"\boxed{2}"),
        line("letter", "B", r"\boxed{blue}", options=["red", "blue"]),
        line("arc", "2", "The best answer is 2."),
        line("mmlu_pro", "J", "the answer is (J)\x1b[31m\ud800\x00"),
        line("gpqa", "(a)", "The correct answer is (C)"),
    ]
    found = grade(tmp_path, capsys, lines)
    grades = [("0.5", True), (None, False), ("2", False), ("B", True), ("B", True), ("J", True), ("C", False)]
    assert found == [
        {**each, "extracted": extracted, "correct": correct, "error": None}
        for each, (extracted, correct) in zip(lines, grades, strict=True)
    ]


def test_a_hang_and_a_gold_answer_that_is_none_are_errors_with_their_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line("math", "1", r"\boxed{9^{9^{9^9}}}"), line("math", "", r"\boxed{1}"), line("math", "1", r"\boxed{1}")]
    hung, none, right = grade(tmp_path, capsys, lines)
    assert (hung["correct"], none["correct"], right["correct"]) == (None, None, True)
    assert hung["error"].startswith("timeout after")
    assert none["error"] == "the gold answer does not parse"


@pytest.mark.parametrize("locale", ["ascii", "latin-1", "utf-8"])
def test_standard_input_is_a_file_too_in_utf_8_whatever_the_locale(
    locale: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = line("letter", "B", "答案是 B", name="é")
    text = json.dumps(row, ensure_ascii=False) + "\n\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding=locale))
    assert main(["grade", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {**row, "extracted": "B", "correct": True, "error": None}
    assert captured.err == "1 graded: 1 correct, 0 wrong, 0 unparsed, 0 errors\n"


def test_what_is_not_utf_8_is_one_message_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(line("math", "1", r"\boxed{1}")).encode()
    content = good + b"\n\n" + good.replace(b"boxed{1}", b"boxed{\xe9}") + b"\n" + good.replace(b"1", b"\xff") + b"\n"
    (tmp_path / "latin").write_bytes(content)
    assert main(["grade", str(tmp_path / "latin")]) == 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))
    assert main(["grade", "-"]) == 2
    captured = capsys.readouterr()
    message = "line 3: not UTF-8 (byte 54 of the line: invalid continuation byte)"
    assert captured.err == f"error: {tmp_path}/latin, {message}\nerror: standard input, {message}\n"
    assert captured.out == ""


def test_every_bad_line_is_named_before_anything_is_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.jsonl"
    rows = [
        line("math", "1", r"\boxed{1}"),
        line("maths", "1", ""),
        {"kind": "math", "gold": 3},
        line("letter", "no", ""),
        line("letter", "A", "", options="ABC"),
        [1],
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    assert main(["grade", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"error: {file}, line {number}: {message}"
        for number, message in [
            (2, "kind='maths': no such kind; did you mean 'math'?; allowed: math, letter, mmlu_pro, gpqa, arc"),
            (3, "gold=3: not a text; no completion"),
            (4, "gold='no': expected a letter"),
            (5, "options: expected a list of texts"),
            (6, "expected an object with kind, gold and completion, not list"),
            (7, "not JSON (Expecting property name enclosed in double quotes: line 2 column 1 (char 2))"),
        ]
    ]


def test_many_bad_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("nonsense\n" * 50)
    assert main(["grade", str(file)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {file}: 30 more lines are wrong"


@pytest.mark.parametrize("content", [b"", b"\xff\n"])
def test_what_is_no_file_of_lines_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert main(["grade", str(tmp_path / "file")]) == 2
    assert main(["grade", str(tmp_path / "none")]) == 2
    assert main(["grade"]) == 2
    assert capsys.readouterr().err.count("error: ") == 3


def test_what_is_no_file_and_a_line_without_an_end_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["grade", str(tmp_path / "pipe"), f"store={tmp_path}"]) == 2
    assert "pipe: no regular file; - reads standard input" in capsys.readouterr().err
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    assert main(["grade", str(tmp_path / "sparse"), f"store={tmp_path}"]) == 2
    assert "sparse, line 1: more than 16777216 bytes" in capsys.readouterr().err
