import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from stages import sft
from stages.contract import Context, Input, Interrupted, Resources, StageError
from stages.progress import Progress
from stages.training import checkpoints, saving, sft_data
from stages.training import sft as training
from tests import tiny_models

CONFIG = sft.Config(
    epochs=4,
    loss="nll",
    learning_rate=1e-2,
    schedule="constant",
    batch=4,
    max_length=96,
    overlong="error",
    samples=None,
    seed=0,
    adam_beta1=0.9,
    adam_beta2=0.999,
    weight_decay=0.0,
    gradient_clip=1.0,
    dtype="float32",
    compute_dtype="float32",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Input]:
    """A random Llama and ten demonstrations: two batches of four an epoch, two rows left out."""
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "checkpoint": tiny_models.source(tiny_models.base(folder / "base")),
        "demonstrations": tiny_models.source(tiny_models.calibration(folder / "rows.jsonl", rows=10)),
    }


def _context(inputs, folder: Path, continues: tuple[int, Path] | None = None, per_device_batch: int = 4) -> Context:
    for each in (folder / "work", folder / "output"):
        each.mkdir(parents=True, exist_ok=True)
    return Context(
        inputs=inputs,
        work=folder / "work",
        output=folder / "output",
        resources=Resources(per_device_batch=per_device_batch),
        progress=Progress(folder / "progress.json"),
        continues=continues,
    )


def _weights(artifact: Path) -> dict[str, torch.Tensor]:
    return load_file(artifact / "model" / "model.safetensors")


def _equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def _curve(artifact: Path) -> list[dict]:
    return [json.loads(line) for line in (artifact / "training.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> Path:
    """Four epochs in one go."""
    context = _context(inputs, tmp_path_factory.mktemp("whole"))
    sft.run(CONFIG, context)
    return context.output


def test_training_lowers_the_loss_and_reports_every_step(whole):
    curve = _curve(whole)
    assert [row["step"] for row in curve] == list(range(1, 9))
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert {"loss", "entropy", "accuracy", "gradient_norm", "epoch"} < curve[0].keys()


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_continuing_gives_the_weights_of_one_go_bit_for_bit(inputs, tmp_path, loss):
    config = replace(CONFIG, loss=loss)
    one_go, half, continued = tmp_path / "one_go", tmp_path / "half", tmp_path / "continued"
    sft.run(config, _context(inputs, one_go))
    sft.run(replace(config, epochs=2), _context(inputs, half))
    sft.run(config, _context(inputs, continued, continues=(2, half / "output")))
    assert not _equal(_weights(half / "output"), _weights(one_go / "output"))
    assert _equal(_weights(continued / "output"), _weights(one_go / "output"))
    assert _curve(continued / "output") == _curve(one_go / "output")


def save_always(patch: pytest.MonkeyPatch) -> None:
    """Save at every step that allows it, however long that takes."""
    patch.setattr(saving, "SAVE_EVERY", 0.0)
    patch.setattr(saving, "SAVE_SHARE", 0)


@pytest.mark.parametrize("killed_at", [5, 6])
def test_a_killed_run_goes_on_where_it_saved(inputs, tmp_path, whole, monkeypatch, killed_at):
    save_always(monkeypatch)
    context = _context(inputs, tmp_path)
    steps: list[int] = []

    class Killed(Exception):
        pass

    def note(step: int, total: int, **metrics: float) -> None:
        steps.append(step)
        if steps.count(killed_at + 1) == 1 and step == killed_at + 1:
            raise Killed

    monkeypatch.setattr(context.progress, "update", note)
    with pytest.raises(Killed):
        sft.run(CONFIG, context)
    (tmp_path / "work" / "checkpoint-999").mkdir()  # what a kill in the middle of a save leaves
    sft.run(CONFIG, context)
    assert steps == [*range(1, killed_at + 2), *range(killed_at + 1, 9)]
    assert _equal(_weights(whole), _weights(context.output))


@pytest.mark.parametrize("steps", [2, 3])
def test_a_run_that_is_asked_to_stop_saves_at_once_and_goes_on_bit_for_bit(inputs, tmp_path, whole, steps):
    context = _context(inputs, tmp_path)
    calls = iter(range(1, 9))
    with pytest.raises(Interrupted, match=f"saved at step {steps} of 8"):
        sft.run(CONFIG, replace(context, stopping=lambda: next(calls) == steps))
    assert checkpoints.latest(context.work).name == f"checkpoint-{steps}"
    assert context.saved.step == steps
    sft.run(CONFIG, context)
    assert _equal(_weights(whole), _weights(context.output))
    assert _curve(whole) == _curve(context.output)


def test_the_curve_is_told_as_it_is_made_from_the_first_epoch_on(inputs, tmp_path, whole):
    half, told = _context(inputs, tmp_path / "half"), []
    sft.run(replace(CONFIG, epochs=2), half)
    context = _context(inputs, tmp_path / "whole", continues=(2, half.output))
    sft.run(CONFIG, replace(context, log=lambda kind, row: told.append((kind, row))))
    assert told == [("train", row) for row in _curve(whole)]


def test_a_run_that_is_asked_to_stop_at_its_last_step_is_done(inputs, tmp_path, whole):
    context = _context(inputs, tmp_path)
    calls = iter(range(1, 9))
    sft.run(CONFIG, replace(context, stopping=lambda: next(calls) == 8))
    assert _equal(_weights(whole), _weights(context.output))


def test_a_run_whose_checkpoint_is_gone_does_not_begin_again(inputs, tmp_path):
    context = _context(inputs, tmp_path)
    context.saved.record(6)
    with pytest.raises(StageError, match="a checkpoint of step 6 was recorded, but none is there now; remove"):
        sft.run(CONFIG, context)


def test_a_run_killed_before_publishing_trains_no_step_again(inputs, tmp_path, whole, monkeypatch):
    sft.run(CONFIG, _context(inputs, tmp_path))
    again = replace(_context(inputs, tmp_path), output=tmp_path / "again")
    again.output.mkdir()
    monkeypatch.setattr(again.progress, "update", lambda *args, **metrics: pytest.fail("trained again"))
    sft.run(CONFIG, again)
    assert _equal(_weights(whole), _weights(again.output))


def test_the_per_device_batch_changes_memory_not_results(inputs, tmp_path, whole):
    sft.run(CONFIG, _context(inputs, tmp_path, per_device_batch=1))
    for left, right in zip(_curve(whole), _curve(tmp_path / "output"), strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-4)


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_the_loss_is_the_mean_over_the_response_tokens_of_the_batch(inputs, tmp_path, loss):
    config = replace(CONFIG, loss=loss, epochs=1)
    sft.run(config, _context(inputs, tmp_path, per_device_batch=2))
    model = AutoModelForCausalLM.from_pretrained(inputs["checkpoint"].model)
    data = sft_data.load(inputs["demonstrations"], training.load_tokenizer(inputs["checkpoint"]), config).data
    terms = []
    for row in sft_data.order(len(data), config.batch, config.seed, epoch=0)[:4]:
        ids, labels = (torch.tensor(data[row][name]) for name in ("input_ids", "labels"))
        logp = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        logp = logp[labels[1:] != sft_data.IGNORED].detach()
        terms.append(-logp * (logp.exp() if loss == "dft" else 1.0))
    assert _curve(tmp_path / "output")[0]["loss"] == pytest.approx(torch.cat(terms).mean().item(), rel=1e-4)


def test_a_batch_larger_than_the_data_is_refused(inputs, tmp_path):
    with pytest.raises(StageError, match="batch: 11 sequences, but there are only 10 rows"):
        sft.run(replace(CONFIG, batch=11), _context(inputs, tmp_path))


def test_a_batch_has_to_be_shared_out_equally() -> None:
    assert sft.fits(CONFIG, Resources(), 2) == []
    assert sft.fits(CONFIG, Resources(), 3) == [
        "batch=4: cannot be shared out equally over 3 devices; possible numbers of devices: 1, 2, 4"
    ]
