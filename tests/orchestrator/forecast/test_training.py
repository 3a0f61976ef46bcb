"""Memory of a training step: EvoLM-4B by hand, activations against what torch really keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.forecast import shape, training
from orchestrator.forecast.load import Part
from orchestrator.forecast.training import Step, whole_layer
from tests.orchestrator.forecast.paper import EVOLM, P
from tests.orchestrator.forecast.test_shape import of

#: SFT of EvoLM-4B on eight GPUs, 8 sequences of 2,048 tokens at once.
SFT = Step(
    shape=of(EVOLM),
    world=8,
    sharded=True,
    dtype="float32",
    compute_dtype="bfloat16",
    sequences=8,
    length=2048,
    checkpointing=True,
)


def bytes_of(parts: list[Part]) -> dict[str, float]:
    return {part.what: part.bytes for part in parts}


def test_master_weights_gradients_and_moments_are_cut_into_equal_parts() -> None:
    assert bytes_of(training.state(SFT)) == {"master weights": 4 * P / 8, "Adam's moments": 8 * P / 8}
    assert bytes_of(training.working(SFT))["gradients"] == 4 * P / 8
    assert training.reference(SFT).bytes == 4 * P / 8
    assert str(training.reference(SFT)) == "reference 4P / 8 = 2.00"


def test_without_sharding_each_process_has_all_of_it_and_ddp_its_buckets() -> None:
    alone = replace(SFT, sharded=False)
    assert bytes_of(training.state(alone)) == {"master weights": 4 * P, "Adam's moments": 8 * P}
    working = bytes_of(training.working(alone))
    assert (working["gradients"], working["buckets of DDP"], working["copies of autocast"]) == (4 * P, 4 * P, 2 * P)
    assert "buckets of DDP" not in bytes_of(training.working(replace(alone, world=1)))


def test_what_fsdp_gathers() -> None:
    # bfloat16 parameters of two layers and both embeddings, bfloat16 and float32 gradients of one layer
    gathered = bytes_of(training.working(SFT))["gathered"]
    assert gathered == 2 * (2 * 133_505_024 + 2 * 131_072_000) + 6 * 133_505_024 == 1_859_338_240


def test_activations_of_evolm() -> None:
    # a token of a layer: two norms 2 x (4 + 2) x 4096, what reads them 2 x 2 x 4096, queries, repeated keys and values
    # and their mix 4 x 2 x 4096, MLP 4 x 2 x 7792, the mask 2 x 2048, statistics 4 x 32 + 8
    whole = 49_152 + 16_384 + 32_768 + 62_336 + 4_096 + 136
    assert whole_layer(SFT.shape, 2048, stream=2, compute=2) == whole == 164_872
    tokens = 8 * 2048
    kept = bytes_of(training.working(SFT))["activations"]
    assert kept == tokens * (28 * 2 * 4096 + 2 * whole) == 9_160_622_080
    everything = bytes_of(training.working(replace(SFT, checkpointing=False)))["activations"]
    assert everything == tokens * 28 * whole


def test_the_logits_are_never_there() -> None:
    # all of them would be 8 x 2048 x 32,000 float32 = 2.1 GB; a tile is 4096 x 32768 bfloat16
    head = bytes_of(training.working(SFT))["head"]
    assert head == 2 * 4096 * 32768 + 8 * 2048 * 4096 * (2 + 4) + 4 * 131_072_000 == 1_195_376_640


@pytest.mark.slow
def test_trl_computes_log_probabilities_in_such_tiles() -> None:
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    assert training.TILE == (TOKEN_CHUNK_SIZE, _CHUNKED_LOGPROB_CHUNK_SIZE)


@pytest.mark.parametrize(("how", "stream", "compute"), [("bfloat16", 2, 2), ("autocast", 4, 2), ("float32", 4, 4)])
def test_a_layer_keeps_what_is_counted(how: str, stream: int, compute: int) -> None:
    found = shape.of_config(_config(2).to_dict())
    assert found is not None
    tokens = 2 * _LENGTH
    measured = (_kept(4, how) - _kept(2, how)) / 2 / tokens
    assert measured == whole_layer(found, _LENGTH, stream, compute)


_LENGTH = 96


def _config(layers: int) -> Any:
    from transformers import LlamaConfig

    sizes = {"hidden_size": 256, "intermediate_size": 488, "num_attention_heads": 8, "num_key_value_heads": 2}
    return LlamaConfig(**sizes, num_hidden_layers=layers, vocab_size=64, use_cache=False)


def _kept(layers: int, how: str) -> int:
    """Bytes of what a forward pass over padded rows keeps for the backward pass, parameters and their copies apart."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(_config(layers)).to(torch.bfloat16 if how == "bfloat16" else torch.float32)
    parameters = {each.data_ptr() for each in model.parameters()}
    shapes = {tuple(sorted(each.shape)) for each in model.parameters() if each.ndim == 2}
    kept: dict[int, tuple[int, torch.Tensor]] = {}  # with the tensor, so that its place is not used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        copied = how == "autocast" and tensor.ndim == 2 and tuple(sorted(tensor.shape)) in shapes
        if place not in parameters and tensor.is_floating_point() and not copied:
            kept[place] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    ids, mask = torch.randint(0, 64, (2, _LENGTH)), torch.ones(2, _LENGTH, dtype=torch.long)
    mask[0, :10] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"),
    ):
        model.train().model(input_ids=ids, attention_mask=mask)
    return sum(size for size, _ in kept.values())
