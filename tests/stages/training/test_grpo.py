"""GRPO on a tiny model: what it publishes, and that a killed or stopped run ends as an uninterrupted one."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launch import tracking
from launch.node import NodeSpec
from stages import grpo
from stages.contract import Context, Input, Interrupted, Resources, StageError
from stages.grading.pool import Grade, Graders
from stages.progress import Progress
from stages.training import grpo_trainer
from stages.training.grpo_reward import Reward
from tests import tiny_models
from tests.stages.test_grpo import config
from tests.stages.test_sft import save_always
from tests.stages.tracking.recorded import OFFLINE, attempts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    folder = tmp_path_factory.mktemp("inputs")
    base = tiny_models.base(folder / "base")
    return {"checkpoint": tiny_models.source(base), "problems": problems(folder)}


@pytest.fixture(autouse=True)
def lenient_graders(monkeypatch: pytest.MonkeyPatch) -> None:
    graders_by_length(monkeypatch)


def problems(folder: Path) -> Input:
    """Sixteen problems; no random model solves them."""
    file = folder / "problems.jsonl"
    rows = [{"prompt": row["prompt"], "answer": "7"} for row in tiny_models.arithmetic(16)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = {"fields": {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}}
    return Input(fingerprint="p", path=file, reading=reading)


def graders_by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model boxes nothing: here an even number of characters is correct, so that groups differ."""

    def grade(self: Graders, kind: str, answers: Any) -> list[Grade]:
        return [Grade(completion, len(completion) % 2 == 0) for _, completion in answers]

    monkeypatch.setattr(Graders, "grade", grade)


def context(folder: Path, inputs: dict[str, Input]) -> Context:
    for name in ("work", "output"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(
        inputs=inputs,
        work=folder / "work",
        output=folder / "output",
        resources=Resources(per_device_batch=4),
        progress=Progress(folder / "progress.json"),
    )


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "output" / "model" / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights and the same curves, but for the seconds."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left) and all(
        [{**row, "seconds": 0} for row in rows(one / "output" / name)]
        == [{**row, "seconds": 0} for row in rows(other / "output" / name)]
        for name in ("training.jsonl", "validation.jsonl")
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Input]) -> tuple[Path, dict[str, Any]]:
    """A run that nothing interrupts, and its summary."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        graders_by_length(patch)
        return folder, grpo.run(config(), context(folder, inputs))


def test_a_killed_run_ends_with_the_curve_and_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, inputs: dict[str, Input], whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_always(monkeypatch)
    step = grpo_trainer.PolicyTrainer.training_step

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:  # in the middle of the third rollout
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(grpo_trainer.PolicyTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        grpo.run(config(), context(tmp_path, inputs))
    assert [folder.name for folder in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-4"]
    monkeypatch.setattr(grpo_trainer.PolicyTrainer, "training_step", step)
    uninterrupted, summary = whole
    assert grpo.run(config(), context(tmp_path, inputs)) == summary
    assert equal(uninterrupted, tmp_path)


def test_a_run_that_is_asked_to_stop_saves_behind_the_rollout_and_goes_on_bit_for_bit(
    tmp_path: Path, inputs: dict[str, Input], whole: tuple[Path, dict[str, Any]]
) -> None:
    asked = context(tmp_path, inputs)
    with pytest.raises(Interrupted, match="saved at step 2 of 8"):
        grpo.run(config(), replace(asked, stopping=lambda: True))
    assert asked.saved.step == 2
    uninterrupted, summary = whole
    assert grpo.run(config(), context(tmp_path, inputs)) == summary
    assert equal(uninterrupted, tmp_path)


def test_the_curves_are_told_as_they_are_made_and_again_by_the_next_attempt(
    tmp_path: Path, inputs: dict[str, Input]
) -> None:
    asked, told = context(tmp_path, inputs), []

    def log(kind: str, row: Any) -> None:
        told.append((kind, row["step"], row))

    with pytest.raises(Interrupted):
        grpo.run(config(), replace(asked, log=log, stopping=lambda: True))
    first = [(kind, step) for kind, step, _ in told]
    assert [each for each in first if each[0] == "train"] == [("train", 1), ("train", 2)]
    assert first[0] == ("validation", 0)
    told.clear()
    grpo.run(config(), replace(asked, log=log))
    for kind, name in (("train", "training.jsonl"), ("validation", "validation.jsonl")):
        assert [row for each, _, row in told if each == kind] == rows(tmp_path / "output" / name)
    assert [step for _, step, _ in told] == sorted(step for _, step, _ in told)


def test_a_killed_run_is_one_run_of_w_and_b_with_the_curve_of_its_artifact(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_always(monkeypatch)
    step = grpo_trainer.PolicyTrainer.training_step

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:  # its rows are logged, and the last save is of step 4
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    spec = NodeSpec(
        store=str(tmp_path / "store"),
        stage="grpo",
        label="Tiny",
        fingerprint="f" * 64,
        identity={"stage": "grpo", "version": grpo.VERSION, "config": asdict(config())},
        inputs={},
        continues=[],
        resources={},
        tracking=OFFLINE,
    )
    monkeypatch.setattr(grpo_trainer.PolicyTrainer, "training_step", killed)
    shared: dict[Any, Any] = {}
    with pytest.raises(KeyboardInterrupt), tracking.followed(spec, 1, shared) as run:
        grpo.run(config(), replace(context(tmp_path, inputs), log=run.row))
    shared[tracking.Recorder].close(patience=600)  # a busy machine takes a minute to load W&B
    monkeypatch.setattr(grpo_trainer.PolicyTrainer, "training_step", step)
    with tracking.followed(spec, 2, {}) as run:
        grpo.run(config(), replace(context(tmp_path, inputs), log=run.row))
        run.folder = tmp_path / "output"
    one, two = attempts(tmp_path / "store")
    assert one.id == two.id
    history = one.history + two.history
    assert [row["_step"] for row in history] == list(range(9))  # the first is the validation before any step
    for kind, name in (("grpo", "training.jsonl"), ("validation", "validation.jsonl")):
        made = rows(tmp_path / "output" / name)
        for field in ("reward", "gradient_norm", "kl", "pass@1"):
            logged = [(row["_step"], row[f"{kind}/{field}"]) for row in history if f"{kind}/{field}" in row]
            assert logged == [(row["step"], row[field]) for row in made if field in row]
    assert [row["rollout"] for row in history if "grpo/reward" in row] == [1, 2, 3, 4]
    assert {json.dumps(row["rollout"]) for row in history} >= {"0", "1", "4"}


def test_a_run_whose_checkpoint_is_gone_does_not_begin_again(tmp_path: Path, inputs: dict[str, Input]) -> None:
    given = context(tmp_path, inputs)
    given.saved.record(4)
    with pytest.raises(StageError, match="a checkpoint of step 4 was recorded, but none is there now; remove"):
        grpo.run(config(), given)


def test_what_it_publishes(tmp_path: Path, inputs: dict[str, Input]) -> None:
    summary = grpo.run(config(), context(tmp_path, inputs))
    assert summary["rollouts"] == 4 and summary["steps"] == 8
    assert summary["problems"] == 12 and summary["held_out"] == 4
    training = rows(tmp_path / "output" / "training.jsonl")
    assert [row["rollout"] for row in training] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert {"reward", "kl", "entropy", "gradient_norm", "clip_share", "completion_length"} <= training[0].keys()
    assert [row["rollout"] for row in rows(tmp_path / "output" / "validation.jsonl")] == [0, 2, 4]
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [
        "model",
        "training.jsonl",
        "validation.jsonl",
    ]
    before = load_file(Path(inputs["checkpoint"].model) / "model.safetensors")
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights(tmp_path).items())


def test_prompt_and_answer_must_fit_the_model(tmp_path: Path, inputs: dict[str, Input]) -> None:
    with pytest.raises(StageError, match="max_prompt=32 and max_new_tokens=100 together exceed the 128 positions"):
        grpo.run(config(max_new_tokens=100), context(tmp_path, inputs))


def test_the_reward_is_plus_or_minus_one() -> None:
    class Given:
        def grade(self, kind: str, answers: Any) -> list[Grade]:
            return [Grade("1", True), Grade("2", False), Grade("3", None, "timeout"), Grade(None, False)]

    reward = Reward(Given(), planned=1000)  # type: ignore[arg-type]
    assert reward(completions=[""] * 4, answer=[""] * 4) == [1.0, -1.0, -1.0, -1.0]
    reward = Reward(Given(), planned=99)  # type: ignore[arg-type]
    reward(completions=[""] * 4, answer=[""] * 4)
    with pytest.raises(StageError, match="1 of 99 answers"):
        reward.check()
