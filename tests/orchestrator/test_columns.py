"""Which columns are prompt, completion and answer: what is plain is taken, what could be misread is asked about."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from orchestrator import columns, config, experiment
from orchestrator.columns import Unsaid
from orchestrator.experiment import Data
from orchestrator.refusal import ConfigError
from orchestrator.sources import Sources

#: The study's template.
OPEN = "Human: {{ question }}"


def fields(kind: str, *names: str) -> dict[str, str]:
    return columns.fields(kind, names, OPEN, key=kind, path="a.jsonl")


@pytest.mark.parametrize(
    ("names", "prompt", "completion"),
    [
        (("prompt", "completion"), "prompt", "completion"),
        (("answer", "completion", "prompt", "question", "response"), "prompt", "completion"),
        (("prompt", "response"), "prompt", "response"),
        (("question", "answer"), "question", "answer"),
        (("problem", "solution", "answer"), "problem", "solution"),
        (("instruction", "output"), "instruction", "output"),
        (("input", "output", "id"), "input", "output"),
        (("prompt", "answer"), "prompt", "answer"),
    ],
)
def test_plain_columns_of_demonstrations(names: tuple[str, ...], prompt: str, completion: str) -> None:
    before = {"prompt": "{{ prompt }}"} if prompt == "prompt" else {"question": f"{{{{ {prompt} }}}}", "prompt": OPEN}
    expected = {**before, "completion": f"{{{{ {completion} }}}}"}
    assert fields("demonstrations", *names) == fields("calibration", *names) == expected
    assert list(fields("demonstrations", *names)) == list(expected)  # their order is part of a fingerprint


@pytest.mark.parametrize("names", [("prompt", "answer"), ("prompt", "answer", "completion", "solution")])
def test_plain_columns_of_problems(names: tuple[str, ...]) -> None:
    assert fields("problems", *names) == {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}


@pytest.mark.parametrize(
    ("kind", "names", "message"),
    [
        ("demonstrations", ("prompt", "response", "output"), "response or output could be the completion"),
        ("demonstrations", ("instruction", "input", "output"), "instruction or input could be the prompt"),
        ("demonstrations", ("question", "problem", "output"), "question or problem could be the prompt; say so: "),
        ("demonstrations", ("prompt", "chosen"), "no column completion; it has prompt, chosen"),
        ("demonstrations", ("text",), "no column prompt; it has text; no column completion"),
        ("demonstrations", ("messages",), "column messages: conversations are not supported yet"),
        ("problems", ("problem", "solution"), "no column answer, and solution may be more than the gold answer alone"),
        ("problems", ("prompt", "completion"), "no column answer, and completion may be more"),
        ("problems", ("prompt", "ground_truth"), "no column answer; it has prompt, ground_truth"),
    ],
)
def test_what_could_be_misread_is_asked_about(kind: str, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(Unsaid) as caught:
        fields(kind, *names)
    assert message in str(caught.value)


def test_the_override_of_a_message_can_be_pasted(tmp_path: Path) -> None:
    path = str(tmp_path / 'it\'s a "b", {c}.jsonl')
    with pytest.raises(Unsaid) as caught:
        columns.fields("problems", ["problem", "solution"], OPEN, key="problems", path=path)
    [argument] = shlex.split(str(caught.value).partition("; say so: ")[2])
    value: Any = OverridesParser.create().parse_override(argument).value()
    expected = {"question": "{{ problem }}", "prompt": "${template.open}", "answer": "{{ solution }}"}
    assert value == {"path": path, "fields": expected}
    found = composed(argument, "template=evolm")["problems"]
    assert found["path"] == path and found["fields"]["prompt"] == "Human: {{ question }}\nAssistant:"


def test_a_file_says_it_itself_and_a_file_of_today_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    sources = Sources(tmp_path / "store")
    for name, row in {"a": {"prompt": "p", "completion": "c"}, "b": {"question": "q", "answer": "a"}}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    said = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
    before, bare = (
        sources.data(Data(path=str(tmp_path / "a.jsonl"), fields=each), "demonstrations", None) for each in (said, None)
    )
    assert before.fingerprint == bare.fingerprint and bare.notes == ()
    asked = sources.data(Data(path=str(tmp_path / "b.jsonl")), "problems", None, OPEN)
    assert asked.reading["fields"] == {"question": "{{ question }}", "prompt": OPEN, "answer": "{{ answer }}"}
    assert asked.notes == (
        f"problems={tmp_path / 'b.jsonl'}: question is the column question, answer is the column answer; "
        "the prompt is the question in template.open",
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "b.jsonl").rename(tmp_path / "folder" / "train.jsonl")
    folder = sources.data(Data(path=str(tmp_path / "folder")), "problems", None, OPEN)
    assert folder.reading["fields"] == asked.reading["fields"] and folder.rows == 1
    with pytest.raises(ConfigError, match=r"benchmark\.x\.data\.fields: has no value"):
        sources.data(Data(path=str(tmp_path / "a.jsonl")), "benchmark.x.data", None)


def composed(*arguments: str) -> dict[str, Any]:
    found = config.compose(["+experiment=smoke", *arguments])
    assert found.errors == []
    return found.config


def test_a_mapping_with_a_path_replaces_data_that_a_stage_makes() -> None:
    assert composed("problems={path: a.jsonl}")["problems"] == {"path": "a.jsonl"}
    assert composed("demonstrations={file: data/id.jsonl}")["demonstrations"]["stage"] == "pretrain"
    assert composed("calibration={path: a.jsonl}")["calibration"] == {"path": "a.jsonl"}
    assert composed("problems={hub: owner/name}")["problems"] == {"hub": "owner/name"}
    members: list[config.Composed] = []
    arguments = ["+experiment=smoke", "problems={path: a.jsonl}", "sft.batch=8,16", "demonstrations=b.csv,c.csv"]
    config.sweep(arguments, lambda found, search: members.extend(found) or [None] * len(found))
    assert [each.config["problems"] for each in members] == [{"path": "a.jsonl"}] * 4
    assert [each.config["demonstrations"] for each in members] == ["b.csv", "c.csv"] * 2
    found = config.compose(["+experiment=smoke", "problems={path: a.jsonl}", "sft.bach=1"])
    assert len(found.errors) == 1 and "sft.bach" in found.errors[0]
    read = experiment.read(composed("problems={path: a.jsonl}", "template=evolm"), {})
    assert read.data["problems"] == Data(path="a.jsonl") and read.prompt.startswith("Human: {{ question }}")
