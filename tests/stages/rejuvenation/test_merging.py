"""Merges by mergekit: the linear one agrees with ours, the others do what they say, and reset and refusals stay."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.contract import StageError
from stages.rejuvenation import fusion, merging
from stages.rejuvenation.weights import Weights
from tests import tiny_models
from tests.stages.rejuvenation.test_fusion import DOWN, UP, checkpoint, example, nothing

pytest.importorskip("mergekit", reason="mergekit is not installed: pip install 'rejuvenation-orchestrator[dev]'")


def tensors(folder: Path) -> dict[str, Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


@pytest.mark.parametrize(("dtype", "share"), [("bfloat16", 0.002), ("float32", 0.4)])
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.45])
def test_fusion_agrees_with_the_linear_merge_to_one_unit_in_the_last_place(
    tmp_path: Path, dtype: str, share: float, alpha: float
) -> None:
    """A float32 unit of the larger term is what either may round off; a bfloat16 result can be that close to a tie.

    mergekit rounds alpha * sft once less, and divides by the sum of the weights. `share` bounds how many elements
    differ at all: here 0.06 % in bfloat16, 23 % in float32; none does at alpha 0.5.
    """
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    base = tiny_models.base(tmp_path / "base", dtype=dtype, hidden_size=128, intermediate_size=256)
    sft = tiny_models.sft(tmp_path / "sft", base, dtype=dtype)
    models = [{"model": str(m), "parameters": {"weight": w}} for m, w in ((sft, alpha), (base, 1 - alpha))]
    config = MergeConfiguration.model_validate({"merge_method": "linear", "dtype": dtype, "models": models})
    run_merge(config, str(tmp_path / "theirs"), MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False))
    pair = Weights(sft, tied=False), Weights(base, tied=False)
    fusion.write(*pair, fusion.Recipe(alpha, nothing()), tmp_path / "ours", lambda done, total: None)

    before, after = tensors(sft), tensors(base)
    ours, theirs = tensors(tmp_path / "ours"), tensors(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    differing = 0
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype == getattr(torch, dtype)
        larger = torch.maximum(alpha * before[name].double().abs(), (1 - alpha) * after[name].double().abs())
        last = torch.maximum(_unit(value.double(), value.dtype), 2 * _unit(larger, torch.float32))
        assert ((value.double() - theirs[name].double()).abs() <= last).all()
        differing += int((value != theirs[name]).sum())
    found = differing / sum(value.numel() for value in ours.values())
    print(f"{dtype}, alpha {alpha}: {found:.4%} of the elements differ")
    assert found == 0 if alpha == 0.5 else 0 < found < share


def _unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """One unit in the last place of these magnitudes in `dtype`."""
    return torch.exp2(torch.floor(torch.log2(values.abs().clamp_min(1e-30)))) * torch.finfo(dtype).eps


def merged(method: str, sft: Tensor, base: Tensor, alpha: float, **options: Any) -> Tensor:
    return merging.load(method, alpha, options.get("density"), options.get("seed", 0))("some.weight", sft, base)


def test_slerp_goes_along_the_arc() -> None:
    """Halfway between two unit vectors at a right angle is the unit vector between them."""
    found = merged("slerp", torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 0.5)
    assert torch.allclose(found, torch.full((2,), math.sqrt(0.5)))
    quarter = merged("slerp", torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 1 / 3)
    assert torch.allclose(quarter, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))


def test_ties_keeps_the_largest_changes() -> None:
    sft, base = torch.tensor([1.1, 2.0, 2.0, 0.6]), torch.ones(4)
    assert merged("ties", sft, base, 0.5, density=0.5).tolist() == [1.0, 1.5, 1.5, 1.0]
    assert torch.allclose(merged("ties", sft, base, 0.25, density=1.0), base + 0.25 * (sft - base))


def test_dare_drops_at_random_by_seed_and_name_and_keeps_the_sum() -> None:
    sft, base = torch.arange(1.0, 65.0), torch.zeros(64)
    found = merged("dare_linear", sft, base, 0.5, density=0.5, seed=1)
    assert 10 < int((found == 0).sum()) < 54
    assert torch.isclose(found.sum(), 0.5 * sft.sum())
    state = torch.get_rng_state()
    assert torch.equal(merged("dare_linear", sft, base, 0.5, density=0.5, seed=1), found)
    assert not torch.equal(merged("dare_linear", sft, base, 0.5, density=0.5, seed=2), found)
    assert torch.equal(torch.get_rng_state(), state)


def test_neurons_are_reset_and_damage_refused_whatever_the_merge(tmp_path: Path) -> None:
    sft, base, chosen = example()
    pair = checkpoint(tmp_path / "sft", sft, files=2), checkpoint(tmp_path / "base", base)
    merge = merging.load("ties", 0.5, 1.0, 0)
    fusion.write(*pair, fusion.Recipe(0.5, chosen, merge=merge), tmp_path / "out", lambda done, total: None)
    found = tensors(tmp_path / "out")
    assert found[f"{UP}.weight"].tolist() == [[6.0] * 3, [4.0] * 3]
    assert found[f"{DOWN}.weight"].tolist() == [[6.0, 4.0]] * 3
    sft[f"{DOWN}.bias"][1] = math.nan
    pair = checkpoint(tmp_path / "damaged", sft), pair[1]
    with pytest.raises(StageError, match=r"damaged/.*down_proj\.bias\[1\] is nan"):
        fusion.write(*pair, fusion.Recipe(0.5, chosen, merge=merge), tmp_path / "none", lambda done, total: None)
    assert not (tmp_path / "none").exists()


def test_without_mergekit_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mergekit.merge_methods", None)
    with pytest.raises(StageError, match=r"rejuvenate\.merge: slerp needs mergekit .*\[merge\]"):
        merging.load("slerp", 0.5, None, 0)
