"""Fusion and reset: of values, and of files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stages import headers, weight_files
from stages.contract import StageError
from stages.rejuvenation import fusion, weights
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.reset_set import ResetSet
from stages.rejuvenation.weights import Weights

UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"

#: Finite float32 values of every size, the smallest and the largest too.
VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def bits(values: torch.Tensor) -> list[int]:
    return values.view(torch.uint8).tolist()


@given(st.floats(0, 1), st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_fusion_is_three_operations_of_which_each_is_rounded(alpha: float, pairs: list[tuple[float, float]]) -> None:
    sft, base = np.array(pairs, dtype=np.float32).T.copy()
    fused = fusion.fuse(torch.from_numpy(sft), torch.from_numpy(base), alpha)
    if 0 < alpha < 1:
        kept, pulled = np.float32(alpha) * sft, np.float32(1 - alpha) * base
        assert kept.dtype == pulled.dtype == np.float32
        assert bits(fused) == bits(torch.from_numpy(kept + pulled))
    else:
        assert bits(fused) == bits(torch.from_numpy(sft if alpha else base))


def test_fusion_is_neither_a_fused_multiply_add_nor_a_lerp() -> None:
    """0.6 * 20 rounds to 12 and 0.4 * -30 to -12, although 0.6 and 0.4 are a little more than that in float32.

    A fused multiply-add keeps what the rounding of one product drops: 4.8e-7 or -1.8e-7; base + alpha * (sft - base)
    is 1.9e-6.
    """
    assert fusion.fuse(torch.full((64,), 20.0), torch.full((64,), -30.0), 0.6).tolist() == [0.0] * 64


def test_ends_are_copies_whatever_the_value() -> None:
    sft, base = torch.tensor([-0.0, 1e-45]), torch.tensor([0.0, 3e38])
    assert bits(fusion.fuse(sft, base, 1.0)) == bits(sft)
    assert bits(fusion.fuse(sft, base, 0.0)) == bits(base)


def checkpoint(folder: Path, values: dict[str, torch.Tensor], *, files: int = 1) -> Weights:
    """A folder with these tensors in this many files."""
    folder.mkdir()
    names = list(values)
    shards = [names[n::files] for n in range(files)]
    index = {name: f"model-{n}.safetensors" for n, shard in enumerate(shards) for name in shard}
    for n, shard in enumerate(shards):
        save_file({name: values[name] for name in shard}, folder / f"model-{n}.safetensors", metadata={"format": "pt"})
    (folder / weight_files.INDEX).write_text(f'{{"weight_map": {index}}}'.replace("'", '"'))
    (folder / "config.json").write_text("{}")
    return Weights(folder, tied=False)


def nothing(*modules: Module) -> ResetSet:
    return ResetSet(list(modules), {module.name: torch.zeros(module.neurons, dtype=torch.bool) for module in modules})


def example() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], ResetSet]:
    """A checkpoint of 8s, a base of 4s, and the second of two neurons of each module to reset."""
    shapes = {f"{UP}.weight": (2, 3), f"{UP}.bias": (2,), f"{DOWN}.weight": (3, 2), f"{DOWN}.bias": (3,)}
    modules = [Module(UP, 0, "up_proj", 2), Module(DOWN, 0, "down_proj", 2)]
    chosen = ResetSet(modules, {module.name: torch.tensor([False, True]) for module in modules})
    return (
        {n: torch.full(s, 8.0) for n, s in shapes.items()},
        {n: torch.full(s, 4.0) for n, s in shapes.items()},
        chosen,
    )


@pytest.mark.parametrize(("alpha", "reset_alpha"), [(0.5, 0.0), (0.5, 0.25), (0.25, 1.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("block", [1, 2, 4, 2**18])
def test_rows_their_biases_and_columns_are_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alpha: float, reset_alpha: float, block: int
) -> None:
    monkeypatch.setattr(weights, "BLOCK", block)
    sft, base, chosen = example()
    recipe = fusion.Recipe(alpha, chosen, reset_alpha)
    pair = checkpoint(tmp_path / "sft", sft, files=2), checkpoint(tmp_path / "base", base, files=3)
    fusion.write(*pair, recipe, tmp_path / "out", lambda done, total: None)
    found = {
        name: v.tolist() for file in (tmp_path / "out").glob("*.safetensors") for name, v in load_file(file).items()
    }
    fused, was_reset = 4 + 4 * alpha, 4 + 4 * reset_alpha
    assert found == {
        f"{UP}.weight": [[fused] * 3, [was_reset] * 3],
        f"{UP}.bias": [fused, was_reset],
        f"{DOWN}.weight": [[fused, was_reset]] * 3,
        f"{DOWN}.bias": [fused] * 3,
    }


@pytest.mark.parametrize("threads", [1, 5])
def test_neither_blocks_nor_threads_nor_shards_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {f"{UP}.weight": (40, 30), f"{DOWN}.weight": (30, 40), "norm": (70,), "wide": (2, 500), "one": ()}
    modules = [Module(UP, 0, "up_proj", 40), Module(DOWN, 0, "down_proj", 40)]
    chosen = ResetSet(modules, {m.name: torch.rand(40, generator=draw) < 0.2 for m in modules})
    sft = {name: torch.randn(shape, generator=draw).bfloat16() for name, shape in shapes.items()}
    base = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    results = []
    for n, (block, files) in enumerate([(2**18, (1, 1)), (100, (3, 2)), (1, (2, 4))]):
        monkeypatch.setattr(weights, "BLOCK", block)
        pair = (
            checkpoint(tmp_path / f"sft{n}", sft, files=files[0]),
            checkpoint(tmp_path / f"base{n}", base, files=files[1]),
        )
        counted: list[tuple[int, int]] = []
        fusion.write(
            *pair, fusion.Recipe(0.3, chosen), tmp_path / f"out{n}", lambda *now, to=counted: to.append(now), threads
        )
        files_out = (tmp_path / f"out{n}").glob("*.safetensors")
        results.append({name: bits(value.reshape(-1)) for file in files_out for name, value in load_file(file).items()})
        elements = sum(math.prod(shape) for shape in shapes.values())
        assert counted[-1] == (elements, elements)
    assert results[0] == results[1] == results[2]
    plain = fusion.fuse(sft["norm"], base["norm"], 0.3).bfloat16()
    assert results[0]["norm"] == bits(plain)


def test_what_is_not_finished_does_not_look_like_a_checkpoint(tmp_path: Path) -> None:
    """Seen from within, when all but the headers is written: that is what is left if the power goes now."""
    sft, base, chosen = example()
    pair = checkpoint(tmp_path / "sft", sft, files=2), checkpoint(tmp_path / "base", base)
    seen: list[str] = []

    def look(done: int, total: int) -> None:
        seen.extend(file.name for file in (tmp_path / "out").iterdir())
        for file in (tmp_path / "out").iterdir():
            with pytest.raises(StageError):
                headers.read(file)

    fusion.write(*pair, fusion.Recipe(0.5, chosen), tmp_path / "out", look)
    assert set(seen) == {"model-0.safetensors", "model-1.safetensors"}
    assert (tmp_path / "out/config.json").exists()


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    sft, base, chosen = example()
    pair = checkpoint(tmp_path / "sft", sft), checkpoint(tmp_path / "base", base)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fusion.write(*pair, fusion.Recipe(0.5, chosen), tmp_path / "out", stop)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_every_damaged_tensor_of_both_sides_is_named_with_its_first_index(tmp_path: Path, alpha: float) -> None:
    sft, base, chosen = example()
    sft[f"{UP}.bias"][1] = math.nan  # a neuron that is reset: its value would vanish
    base[f"{DOWN}.weight"][1:, 0] = -math.inf
    base[f"{DOWN}.bias"][2] = math.inf
    pair = checkpoint(tmp_path / "sft", sft, files=2), checkpoint(tmp_path / "base", base)
    with pytest.raises(StageError) as caught:
        fusion.write(*pair, fusion.Recipe(alpha, chosen), tmp_path / "out", lambda done, total: None)
    lines = sorted(line.removeprefix(str(tmp_path)) for line in str(caught.value).splitlines())
    assert lines == [
        f"/base/model-0.safetensors: {DOWN}.bias[2] is inf",
        f"/base/model-0.safetensors: {DOWN}.weight[1, 0] is -inf",
        f"/sft/model-1.safetensors: {UP}.bias[1] is nan",
    ]
    assert not (tmp_path / "out").exists()


def test_opposite_infinities_do_not_cancel(tmp_path: Path) -> None:
    sft, base = {"norm": torch.tensor([1.0, math.inf])}, {"norm": torch.tensor([1.0, -math.inf])}
    pair = checkpoint(tmp_path / "sft", sft), checkpoint(tmp_path / "base", base)
    with pytest.raises(StageError, match=r"base/.*norm\[1\] is -inf\n.*sft/.*norm\[1\] is inf"):
        fusion.write(*pair, fusion.Recipe(0.5, nothing()), tmp_path / "out", lambda done, total: None)


def test_values_whose_sum_overflows_are_finite(tmp_path: Path) -> None:
    values = {"norm": torch.full((4,), 3e38)}
    pair = checkpoint(tmp_path / "sft", values), checkpoint(tmp_path / "base", values)
    fusion.write(*pair, fusion.Recipe(0.5, nothing()), tmp_path / "out", lambda done, total: None)
    assert load_file(tmp_path / "out/model-0.safetensors")["norm"].tolist() == values["norm"].tolist()


def test_a_value_too_large_for_the_dtype_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    sft, base = {"norm": torch.ones(2, dtype=torch.float16)}, {"norm": torch.tensor([1.0, 1e6])}
    pair = checkpoint(tmp_path / "sft", sft), checkpoint(tmp_path / "base", base)
    with pytest.raises(StageError, match=r"sft/.*: norm\[1\] is inf when written: too large for F16"):
        fusion.write(*pair, fusion.Recipe(0.5, nothing()), tmp_path / "out", lambda done, total: None)
    assert not (tmp_path / "out").exists()
