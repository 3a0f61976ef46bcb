"""The code of a stage: which edits are a change of it, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import stages
from launch import stage_code

TRAIN = '''
"""A stage."""
from stages import contract
from stages.parts import loss
VERSION = 1


def run(config, context):
    """Does it."""
    from stages.parts.reward import reward  # loads what is heavy
    return loss.mean(reward(config))
'''
LOSS = "def mean(values):\n    return sum(values) / len(values)\n\n\nLIMIT = 3\n"
REWARD = "def reward(config):\n    return [1, -1]\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stages: `train`, which has two parts, and `other`, which nobody imports."""
    root = tmp_path / "stages"
    (root / "parts").mkdir(parents=True)
    for name, text in {"train": TRAIN, "other": "import stages.train\n", "contract": "KINDS = ()\n"}.items():
        (root / f"{name}.py").write_text(text)
    for name, text in {"__init__": "", "loss": LOSS, "reward": REWARD}.items():
        (root / "parts" / f"{name}.py").write_text(text)
    monkeypatch.setattr(stages, "__path__", [str(root)])
    return root


def of(tree: Path) -> stage_code.Code:
    return stage_code.of("train", tree.parent)


def test_the_code_of_a_stage_is_what_it_imports_but_for_what_carries_it(tree: Path) -> None:
    assert list(of(tree).modules) == ["parts", "parts.loss", "parts.reward", "train"]
    assert list(stage_code.of("other", tree.parent).modules) == ["other"]  # another stage is not its code


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("parts/reward.py", "[1, -1]", "[1, 0]"),
        ("parts/loss.py", "LIMIT = 3", "LIMIT = 4"),
        ("parts/loss.py", "LIMIT = 3", "LIMIT = 3.0"),
        ("train.py", "loss.mean(", "-loss.mean("),
        ("train.py", "return loss", "return lo ss"),  # in the middle of an edit
    ],
)
def test_an_edit_is_a_change_of_the_module_that_has_it(tree: Path, file: str, old: str, new: str) -> None:
    before = of(tree)
    (tree / file).write_text((tree / file).read_text().replace(old, new))
    after = of(tree)
    assert after.digest != before.digest
    assert file.removesuffix(".py").replace("/", ".") in after.changed_since(before.modules)
    assert before.changed_since(before.modules) == []


def edit_words(tree: Path) -> None:
    text = TRAIN.replace("A stage.", "Another text.").replace("Does it.", "It does.").replace("what is heavy", "torch")
    (tree / "train.py").write_text(text.replace("(config)", "(\n        config\n    )"))


def rename_a_module(tree: Path) -> None:
    (tree / "parts" / "reward.py").rename(tree / "parts" / "rewards.py")
    (tree / "train.py").write_text(TRAIN.replace("parts.reward import", "parts.rewards import"))


def move_a_definition(tree: Path) -> None:
    (tree / "parts" / "loss.py").write_text(LOSS.partition("\n\n\n")[0] + "\nfrom stages.parts.reward import LIMIT\n")
    (tree / "parts" / "reward.py").write_text("LIMIT = 3\n" + REWARD)


def edit_what_carries(tree: Path) -> None:
    (tree / "contract.py").write_text("KINDS = (1,)\n")


def import_for_types(tree: Path) -> None:
    (tree / "parts" / "loss.py").write_text(f"if TYPE_CHECKING:\n    from stages.parts import types\n{LOSS}")


@pytest.mark.parametrize("edit", [edit_words, rename_a_module, move_a_definition, edit_what_carries, import_for_types])
def test_words_and_places_are_no_change(tree: Path, edit: object) -> None:
    before = of(tree)
    assert callable(edit)
    edit(tree)
    assert of(tree).digest == before.digest


def test_what_a_file_says_is_remembered_until_it_changes(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.parent / "store").mkdir()
    before = of(tree)
    monkeypatch.setattr(stage_code.ast, "parse", pytest.fail)
    assert of(tree) == before


def test_the_reward_is_code_of_rl_and_not_of_sft(tmp_path: Path) -> None:
    assert "grading.mathematics" in stage_code.of("grpo", tmp_path).modules
    assert "training.policy_loss" in stage_code.of("grpo", tmp_path).modules
    sft = stage_code.of("sft", tmp_path).modules
    assert "training.sft_data" in sft and not any(name.startswith(("grading", "training.grpo")) for name in sft)
