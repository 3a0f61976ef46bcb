"""SFT in two processes, sharded or not: the curve of one, one decision to stop, checkpoints that any continue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages import sft
from stages.contract import Context, Input, Interrupted, Resources, StageError
from stages.progress import Progress
from stages.training import checkpoints
from stages.training import sft as training
from tests import tiny_models
from tests.stages.test_sft import CONFIG, _curve, _equal, _weights
from tests.stages.training import launched

pytestmark = pytest.mark.slow

HERE = "tests.stages.training.test_sft_ranks"
#: Every parameter in two parts; activations are computed again.
SHARDED = {"sharding": "fsdp2", "checkpointing": True}
#: Products in half the precision, on weights in all of it.
HALF = replace(CONFIG, compute_dtype="bfloat16")
#: Two batches of four and one row left out, which accelerate could take for all that the last batch has.
ROWS = 9


def _inputs(folder: Path) -> dict[str, Input]:
    return {
        "checkpoint": tiny_models.source(folder / "base"),
        "demonstrations": tiny_models.source(folder / "rows.jsonl"),
    }


def _context(
    folder: Path, name: str, rank: int = 0, world: int = 1, resources: dict[str, Any] | None = None, **chosen: Any
) -> Context:
    here = folder / name
    for each in (here / "work", here / "output"):
        each.mkdir(parents=True, exist_ok=True)
    return Context(
        inputs=_inputs(folder),
        work=here / "work",
        output=here / "output",
        resources=Resources(per_device_batch=4 // world, **(resources or {})),
        progress=Progress(here / "progress.json"),
        rank=rank,
        world=world,
        **chosen,
    )


def _after(steps: int) -> Callable[[], bool]:
    """Asked to stop once `steps` steps have been made since."""
    calls = iter(range(1, 1000))
    return lambda: next(calls) >= steps


def _outcome(config: sft.Config, context: Context) -> Any:
    """The summary, or what was raised."""
    try:
        return sft.run(config, context)
    except (Interrupted, StageError) as error:
        return [type(error).__name__, str(error)]


def study(rank: int, world: int, where: str) -> dict[str, Any]:
    """Every run that two ranks make, one after the other in the same processes."""
    folder = Path(where)
    found: dict[str, Any] = {}
    for loss in ("nll", "dft"):
        found[loss] = sft.run(replace(CONFIG, loss=loss), _context(folder, f"two_{loss}", rank, world))

    # Only the second rank hears of it, in the middle of the second epoch.
    stopping = _after(3) if rank == 1 else lambda: False
    found["stopped"] = _outcome(CONFIG, _context(folder, "cut", rank, world, stopping=stopping))
    found["resumed"] = _outcome(CONFIG, _context(folder, "cut", rank, world))
    again = replace(_context(folder, "cut", rank, world), output=folder / "cut" / "again")
    found["published"] = _outcome(CONFIG, again)

    continues = (2, folder / "half" / "output")
    found["continued"] = _outcome(CONFIG, _context(folder, "continued", rank, world, continues=continues))
    found["for_one"] = _outcome(CONFIG, _context(folder, "for_one", rank, world, stopping=_after(3)))
    found["lost"] = _outcome(CONFIG, _context(folder, "lost", rank, world))

    def sharded(name: str, **chosen: Any) -> Context:
        return _context(folder, name, rank, world, resources=SHARDED, **chosen)

    patch, kinds = pytest.MonkeyPatch(), set()
    step = training._Trainer.training_step

    def seen(self: Any, *args: Any, **kwargs: Any) -> Any:
        kinds.update(type(parameter).__name__ for parameter in self.model.parameters())
        return step(self, *args, **kwargs)

    patch.setattr(training._Trainer, "training_step", seen)
    found["sharded"] = _outcome(CONFIG, sharded("sharded"))
    found["sharded_by"] = sorted(kinds)
    _outcome(HALF, sharded("sharded_half"))
    _outcome(CONFIG, sharded("sharded_cut", stopping=_after(3)))
    found["sharded_resumed"] = _outcome(CONFIG, sharded("sharded_cut"))
    _outcome(CONFIG, sharded("sharded_continued", continues=continues))
    _outcome(CONFIG, sharded("unsharded", stopping=_after(3)))
    _outcome(CONFIG, _context(folder, "unsharded", rank, world))
    _outcome(CONFIG, sharded("sharded_for_one", stopping=_after(3)))
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of all runs, and what `study` found on each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny_models.base(folder / "base")
    tiny_models.calibration(folder / "rows.jsonl", rows=ROWS)
    for loss in ("nll", "dft"):
        sft.run(replace(CONFIG, loss=loss), _context(folder, f"one_{loss}"))
    sft.run(replace(CONFIG, epochs=2), _context(folder, "half"))
    _context(folder, "lost").saved.record(5)
    return folder, launched.run(f"{HERE}:study", 2, str(folder))


def _difference(left: Path, right: Path) -> float:
    """The largest relative difference of two curves, over all steps and columns."""
    pairs = zip(_curve(left / "output"), _curve(right / "output"), strict=True)
    return max(abs(one[key] - two[key]) / max(abs(one[key]), 1e-9) for one, two in pairs for key in one)


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_two_ranks_have_the_curve_of_one_with_the_same_batch(ran, loss):
    folder, (first, second) = ran
    assert _difference(folder / f"one_{loss}", folder / f"two_{loss}") < 1e-4
    assert second[loss] == {}
    assert first[loss]["steps"] == 8
    assert {file.name for file in (folder / f"two_{loss}" / "output" / "state").glob("rng*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }


def test_all_ranks_stop_at_the_step_at_which_one_was_asked_to(ran):
    _, found = ran
    assert [each["stopped"] for each in found] == [["Interrupted", "saved at step 3 of 8"]] * 2


def test_two_stopped_ranks_go_on_bit_for_bit_and_publish_once(ran):
    folder, (first, second) = ran
    assert _equal(_weights(folder / "cut" / "output"), _weights(folder / "two_nll" / "output"))
    assert _curve(folder / "cut" / "output") == _curve(folder / "two_nll" / "output")
    assert first["resumed"] == first["published"] == first["nll"]
    assert second["resumed"] == second["published"] == {}


def test_two_ranks_continue_what_one_rank_published(ran):
    folder, _ = ran
    assert _difference(folder / "one_nll", folder / "continued") < 1e-4


def test_one_rank_goes_on_where_two_were_stopped(ran):
    folder, _ = ran
    assert checkpoints.latest(folder / "for_one" / "work").name == "checkpoint-3"
    sft.run(CONFIG, _context(folder, "for_one"))
    assert _difference(folder / "one_nll", folder / "for_one") < 1e-4
    one, two = (load_file(folder / name / "output" / "model" / "model.safetensors") for name in ("one_nll", "for_one"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_sharded_over_two_ranks_it_has_the_curve_of_one(ran):
    folder, (first, second) = ran
    assert _difference(folder / "one_nll", folder / "sharded") < 1e-4
    assert first["sharded"]["steps"] == 8 and second["sharded"] == {}
    assert first["sharded_by"] == second["sharded_by"] == ["DTensor"]


def test_sharded_in_bfloat16_it_is_near_the_curve_of_one_and_keeps_float32_weights(ran):
    folder, _ = ran
    sft.run(HALF, _context(folder, "one_half"))
    one, two = (_curve(folder / name / "output") for name in ("one_half", "sharded_half"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=0.05)
    assert _difference(folder / "one_nll", folder / "sharded_half") > 1e-4
    assert {tensor.dtype for tensor in _weights(folder / "sharded_half" / "output").values()} == {torch.float32}


def test_a_sharded_run_that_is_stopped_goes_on_bit_for_bit(ran):
    folder, (first, _) = ran
    assert first["sharded_resumed"] == first["sharded"]
    assert _equal(_weights(folder / "sharded_cut" / "output"), _weights(folder / "sharded" / "output"))
    assert _curve(folder / "sharded_cut" / "output") == _curve(folder / "sharded" / "output")


@pytest.mark.parametrize("name", ["sharded_continued", "unsharded"])
def test_sharded_and_whole_runs_continue_each_other(ran, name):
    folder, _ = ran
    assert _difference(folder / "one_nll", folder / name) < 1e-4


def test_one_rank_goes_on_where_two_sharded_ones_were_stopped(ran):
    folder, _ = ran
    sft.run(CONFIG, _context(folder, "sharded_for_one"))
    assert _difference(folder / "one_nll", folder / "sharded_for_one") < 1e-4


def test_a_sharded_checkpoint_is_no_larger_than_a_whole_one(ran):
    folder, _ = ran
    names = [{file.name for file in (folder / run / "output" / "state").iterdir()} for run in ("sharded", "two_nll")]
    assert names[0] == names[1]


def test_a_lost_checkpoint_stops_all_ranks(ran):
    _, found = ran
    for each in found:
        kind, message = each["lost"]
        assert kind == "StageError"
        assert message.startswith("a checkpoint of step 5 was recorded, but none is there now")
