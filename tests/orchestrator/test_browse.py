"""The verb `inspect`: what it shows of an evaluation, and that nothing a model wrote does more than be read."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.escape import visible
from orchestrator import browse
from orchestrator.__main__ import main
from orchestrator.answers import Answer, Problem
from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError
from stages import artifact, evaluate
from stages.identity import identity
from stages.store import Store
from tests.orchestrator.test_answers import ERROR, UNPARSED, WRONG, row, write

ROOT = Path(__file__).parent.parent.parent

ANSWER = Answer(sample=0, completion="It is 2.", extracted="2", correct=False, error=None, truncated=False, tokens=4)
PROBLEM = Problem(number=3, id="p3", prompt="What is 1?", gold="1", answers=[ANSWER])


def command(store: Path, *words: str) -> list[str]:
    return [*words, "+experiment=smoke", f'store="{store}"']


def publish(store: Path, label: str, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> Path:
    """Publish the evaluation of this label in the smoke study, as if it had run; returns its folder."""
    assert main(command(store, "plan", "--json")) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    node = next(each for each in nodes if (each["stage"], each["label"]) == ("evaluate", label))
    draft, final = store / "evaluate" / ".draft", Path(node["path"])
    write(draft, rows)
    (draft / "scores.json").write_text(json.dumps({"n": 2, "k": 1, "pass@1": 0.5, "pass@1_se": 0.5}))

    record = {
        "fingerprint": node["fingerprint"],
        "identity": identity("evaluate", evaluate.VERSION, node["config"], node["inputs"]),
        "label": label,
        "config": node["config"],
        "inputs": {},
        "summary": {},
    }
    artifact.publish(draft, final, record)
    assert Store(store).find("evaluate", node["fingerprint"]) == final
    return final


@pytest.fixture
def published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A store with an evaluation of two problems."""
    hostile = {**WRONG, "completion": "\x1b[2J\x1b]0;owned\x07[red]2[/red]\nproblem 9: id x, 1 of 1 right"}
    rows = [row(0, prompt="Human: 1?\nAssistant:"), row(1, id="\x1b[31mid", **hostile, truncated=True)]
    publish(tmp_path, "ModSFT.tiny_sums", rows, capsys)
    return tmp_path


def test_problems_samples_and_grades_as_plain_lines(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(published, "inspect", "ModSFT.tiny_sums")) == 0
    head, *rest = capsys.readouterr().out.splitlines()
    assert head.startswith("evaluate/ModSFT.tiny_sums  ") and head.endswith(f"  {published}/evaluate/{head[-27:]}")
    assert rest == [
        "2 problems, 2 samples: 1 right, 1 wrong, 0 without an answer, 0 errors; 1 truncated",
        "",
        "problem 1: id <U+001B>[31mid, gold 1, 0 of 1 right",
        " prompt",
        "  | Q1",
        " sample 0: wrong, extracted 2, 4 tokens, truncated",
        "  | <U+001B>[2J<U+001B>]0;owned<U+0007>[red]2[/red]",
        "  | problem 9: id x, 1 of 1 right",
        "",
        "problem 0: id p0, gold 1, 1 of 1 right",
        " prompt",
        "  | Human: 1?",
        "  | Assistant:",
        " sample 0: right, extracted 1, 4 tokens",
        "  | It is 1.",
    ]


def test_only_the_problems_with_a_wrong_sample(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(published, "inspect", "ModSFT.tiny_sums", "--wrong")) == 0
    out = capsys.readouterr().out
    assert "1 of 2 problems, 1 samples: 0 right, 1 wrong" in out
    assert "problem 1:" in out and "problem 0:" not in out


def test_json_has_one_object_a_line(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(published, "inspect", "ModSFT.tiny_sums", "--json")) == 0
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out
    first, second = map(json.loads, out.splitlines())
    assert (first["problem"], first["id"], first["samples"][0]["verdict"]) == (1, "\x1b[31mid", "wrong")
    assert second == {
        "problem": 0,
        "id": "p0",
        "prompt": "Human: 1?\nAssistant:",
        "gold": "1",
        "samples": [
            {
                "sample": 0,
                "completion": "It is 1.",
                "extracted": "1",
                "correct": True,
                "error": None,
                "truncated": False,
                "tokens": 4,
                "verdict": "right",
            }
        ],
    }


def test_a_page_lies_among_the_reports(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(published, "inspect", "ModSFT.tiny_sums", "--html")) == 0
    file = Path(capsys.readouterr().out.strip())
    assert file.parent == published / "reports" / "smoke" and file.name.startswith("ModSFT.tiny_sums-")
    assert file.read_text().startswith("<!DOCTYPE html>") and "owned" in file.read_text()
    assert main(command(published, "inspect", "ModSFT.tiny_sums", "--html", "--wrong", "--json")) == 0
    wrong = Path(json.loads(capsys.readouterr().out)["page"])
    assert wrong.name == f"{file.stem}-wrong.html"
    assert "On this page are 1 of the 2 problems" in wrong.read_text()
    assert sorted(file.parent.iterdir()) == sorted([file, wrong])


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["ModSFT+RL.tiny_sums"], 1, "evaluate/ModSFT+RL.tiny_sums is not published: run, new; after grpo/ModSFT+RL"),
        (["tiny_sums"], 2, "error: inspect tiny_sums: several evaluations have this name, name one of them: "),
        (["evaluate"], 2, "error: inspect evaluate: several evaluations have this name, name one of them: "),
        (["sft/ModSFT"], 2, "error: inspect sft/ModSFT: sft/ModSFT is no evaluation; name VARIANT.BENCHMARK\n"),
        (["ModSFT.tiny_sum"], 2, "error: inspect ModSFT.tiny_sum: no such node; did you mean 'evaluate/ModSFT.tiny_s"),
        ([], 2, "error: inspect: name a node"),
        (["ModSFT.tiny_sums", "-f"], 2, "error: -f: not a flag of inspect, which has --html, --json, "),
    ],
)
def test_what_cannot_be_shown(
    words: list[str], code: int, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, "inspect", *words)) == code
    shown = capsys.readouterr()
    assert shown.err.startswith(error) and not shown.out


@pytest.mark.parametrize(("name", "flags"), [("generations.parquet", []), ("scores.json", ["--html"])])
def test_a_file_that_a_disk_has_spoilt_is_named(
    name: str, flags: list[str], published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (published / "evaluate").glob(f"*/{name}")
    file.write_bytes(b"x" * file.stat().st_size)
    assert main(command(published, "inspect", "ModSFT.tiny_sums", *flags)) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {file} cannot be read (") and not shown.out


def test_an_evaluation_is_found_by_variant_benchmark_and_fingerprint() -> None:
    def node(label: str, stage: str = "evaluate") -> Node:
        return Node(stage=stage, version=1, config={"label": label}, inputs={}, label=label)

    one, two = node("A.sums"), node("A.words")
    graph = Graph(scores={("A", "sums"): one, ("B", "sums"): one, ("A", "words"): two})
    graph.nodes.update({each.fingerprint: each for each in (one, two, node("A", "sft"))})
    for name in ("A.sums", "B.sums", "evaluate/B.sums", "sums", "B", one.fingerprint[:8]):
        assert browse.evaluation(name, graph) is one
    with pytest.raises(ConfigError, match=r"several .*: evaluate/A.sums \(\w{10}\), evaluate/A.words \(\w{10}\)"):
        browse.evaluation("A", graph)


@pytest.mark.parametrize(
    ("changed", "grade"),
    [
        ({}, "wrong, extracted 2, 4 tokens"),
        ({**UNPARSED, "truncated": True}, "wrong, no answer found, 4 tokens, truncated"),
        (ERROR, "error, timeout, extracted 9^9^9^9, 4 tokens"),
        ({"extracted": "a\nb\t\u202ec"}, "wrong, extracted a<U+000A>b<U+0009><U+202E>c, 4 tokens"),
        ({"tokens": None, "truncated": None}, "wrong, extracted 2"),
    ],
)
def test_a_grade_is_one_line(changed: dict[str, Any], grade: str) -> None:
    shown = "".join(browse.lines([replace(PROBLEM, answers=[replace(ANSWER, **changed)])]))
    assert f"\n sample 0: {grade}\n" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \\frac{1}{2}\tπ\u00a0é 数", "plain \\frac{1}{2}\tπ\u00a0é 数"),
        ("\x1b[1m", "<U+001B>[1m"),
        ("a\r\nb\x00\x7f\x9b", "a<U+000D>\nb<U+0000><U+007F><U+009B>"),
        ("\u202etxt\u2066\u200b\u2028\ud800", "<U+202E>txt<U+2066><U+200B><U+2028><U+D800>"),
    ],
)
def test_what_is_invisible_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(), st.text(), st.text())
def test_no_control_character_reaches_the_terminal(id: str, prompt: str, completion: str) -> None:
    answer = replace(ANSWER, completion=completion, extracted=prompt)
    problem = replace(PROBLEM, id=id, prompt=prompt, answers=[answer])
    shown = "".join(browse.lines([problem]))
    assert not [each for each in shown if ord(each) < 32 and each not in "\n\t" or 127 <= ord(each) < 160]
    ours = [line for line in shown.split("\n") if not line.startswith(browse.QUOTE)]
    assert [line[:9] for line in ours] == ["", "problem 3", " prompt", " sample 0", ""]
    assert json.loads("".join(browse.json_lines([problem])))["samples"][0]["completion"] == completion


def run(store: Path, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    """The verb in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PAGER": "cat", "TERM": "xterm-256color"}
    arguments = [sys.executable, "-m", "orchestrator", *command(store, "inspect", "ModSFT.tiny_sums", *words)]
    return subprocess.Popen(arguments, cwd=store, env=environment, **options)


def test_a_terminal_gets_a_pager_and_no_escape_codes(published: Path) -> None:
    ours, its = pty.openpty()
    with run(published, stdin=its, stdout=its, stderr=its) as done:
        os.close(its)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert done.returncode == 0 and b"\x1b" not in shown
    assert b"\r\n  | <U+001B>[2J<U+001B>]0;owned<U+0007>[red]2[/red]\r\n" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**16)
    except OSError:  # how the end of a terminal shows
        return b""


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, "ModSFT.tiny_sums", [row(0, completion="long " * 100_000)], capsys)
    with run(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None and reading.stderr is not None
        assert reading.stdout.readline().startswith(b"evaluate/ModSFT.tiny_sums")
        reading.stdout.close()
        assert reading.stderr.read() == b""
    assert reading.returncode == 0
