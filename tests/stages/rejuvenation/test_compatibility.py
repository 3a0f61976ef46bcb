"""What makes a base and a checkpoint two models: each refused by name, before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.contract import StageError
from stages.rejuvenation import compatibility
from tests import tiny_models


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    base = tiny_models.base(tmp_path / "base")
    return base, tiny_models.sft(tmp_path / "sft", base)


def open_pair(pair: tuple[Path, Path]) -> compatibility.Pair:
    return compatibility.open_pair(*map(tiny_models.source, pair))


def edit_config(folder: Path, **fields: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def edit_tensors(folder: Path, **changed: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors; `__` stands for a dot."""
    file = folder / "model.safetensors"
    values = load_file(file) | {name.replace("__", "."): value for name, value in changed.items()}
    save_file({k: v for k, v in values.items() if v is not None}, file, metadata={"format": "pt"})


def test_all_neurons_of_all_seven_kinds_are_counted(pair: tuple[Path, Path]) -> None:
    found = open_pair(pair)
    assert found.neurons == 2 * (32 + 16 + 16 + 32 + 48 + 48 + 48)
    assert [module.kind for module in found.modules[:7]] == [
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    ]
    assert found.modules[7].name == "model.layers.1.self_attn.q_proj"


def test_other_shapes_are_named_by_config_field(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = tiny_models.base(tmp_path / "other", num_hidden_layers=3, intermediate_size=40)
    with pytest.raises(StageError) as caught:
        open_pair((other, pair[1]))
    assert "config num_hidden_layers: 3 in the base, 2 in the checkpoint" in str(caught.value)
    assert "config intermediate_size: 40 in the base, 48 in the checkpoint" in str(caught.value)


def test_other_heads_are_refused_although_shapes_agree(pair: tuple[Path, Path]) -> None:
    edit_config(pair[1], num_attention_heads=2, num_key_value_heads=1, head_dim=16)
    with pytest.raises(StageError, match="config num_attention_heads: 4 in the base, 2 in the checkpoint"):
        open_pair(pair)


def test_all_tensors_that_differ_are_named_at_once(pair: tuple[Path, Path]) -> None:
    edit_tensors(
        pair[1],
        model__norm__weight=torch.ones(31),
        model__layers__0__mlp__up_proj__weight=None,
        model__extra__weight=torch.ones(3),
    )
    with pytest.raises(StageError) as caught:
        open_pair(pair)
    message = str(caught.value)
    assert "model.norm.weight: shape [32] in the base, shape [31] in the checkpoint" in message
    assert "model.layers.0.mlp.up_proj.weight: shape [48, 32] in the base, absent in the checkpoint" in message
    assert "model.extra.weight: absent in the base, shape [3] in the checkpoint" in message


def test_a_tensor_that_both_lack_is_named(pair: tuple[Path, Path]) -> None:
    for folder in pair:
        edit_tensors(folder, model__norm__weight=None, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(StageError) as caught:
        open_pair(pair)
    names = ("model.layers.1.mlp.up_proj.weight", "model.norm.weight")
    assert str(caught.value).splitlines() == [f"{pair[1]}: no tensor {name}" for name in names]


def test_tokens_that_sft_added_are_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(pair[1])
    tokenizer = AutoTokenizer.from_pretrained(pair[1])
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(tmp_path / "added")
    model.save_pretrained(tmp_path / "added")  # room for them was there already, as in Qwen's padded vocabularies
    with pytest.raises(StageError, match=r"2 tokens have other ids .*, first: '</think>' \(None, 301\), '<think>'"):
        open_pair((pair[0], tmp_path / "added"))
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path / "added")
    with pytest.raises(StageError, match="config vocab_size: 300 in the base, 302 in the checkpoint"):
        open_pair((pair[0], tmp_path / "added"))


def test_rotary_buffers_of_old_checkpoints_are_no_parameters(pair: tuple[Path, Path]) -> None:
    edit_tensors(pair[0], model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    open_pair(pair)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, r"rope_theta: 10000\.0 in the base, 500000"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, r"rope_parameters\.factor: None in the base, 4\.0"),
        ({"rms_norm_eps": 0.1}, r"rms_norm_eps: 1e-06 in the base, 0\.1 in the checkpoint"),
    ],
)
def test_another_function_is_refused_where_the_two_are_fused(
    pair: tuple[Path, Path], fields: dict[str, object], message: str
) -> None:
    edit_config(pair[1], **fields)
    with pytest.raises(StageError, match=message):
        open_pair(pair)
    compatibility.open_pair(*map(tiny_models.source, pair), fused=False)


def test_a_function_that_is_written_otherwise_is_the_same(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "config.json"
    said = json.loads(file.read_text())
    del said["rope_parameters"], said["rms_norm_eps"]
    file.write_text(json.dumps(said | {"rope_theta": 10000, "rope_scaling": None, "max_position_embeddings": 4096}))
    open_pair(pair)


def test_what_both_lack_is_refused_without_neurons_too(pair: tuple[Path, Path]) -> None:
    for folder in pair:
        edit_tensors(folder, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(StageError, match=r"1 missing, so that they would be random: model\.layers\.1\.mlp\.up_proj"):
        compatibility.open_pair(*map(tiny_models.source, pair), neurons=False)


def test_quantised_checkpoints_are_refused(pair: tuple[Path, Path]) -> None:
    edit_config(pair[1], quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(StageError, match=r"sft: quantised checkpoints are not supported \(quantization_config\)"):
        open_pair(pair)


def test_pickled_weights_are_refused(pair: tuple[Path, Path]) -> None:
    torch.save(load_file(pair[1] / "model.safetensors"), pair[1] / "pytorch_model.bin")
    (pair[1] / "model.safetensors").unlink()
    with pytest.raises(
        StageError, match=r"sft: neither model\.safetensors nor .*: only safetensors checkpoints are read"
    ):
        open_pair(pair)


def test_quantised_tensors_are_refused(pair: tuple[Path, Path]) -> None:
    edit_tensors(pair[0], model__norm__weight=torch.ones(32, dtype=torch.int8))
    with pytest.raises(StageError, match=r"model\.norm\.weight has dtype I8; allowed: F32, BF16, F16"):
        open_pair(pair)


def test_unsupported_architectures_say_what_was_looked_for(pair: tuple[Path, Path]) -> None:
    for folder in pair:
        edit_config(folder, model_type="gpt2")
    with pytest.raises(StageError, match=r"model_type 'gpt2' is not supported; allowed: llama, .*self_attn\.q_proj"):
        open_pair(pair)


def test_tokenizers_differ_in_vocabulary(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "tokenizer.json"
    content = json.loads(file.read_text())
    ids = content["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    file.write_text(json.dumps(content))
    with pytest.raises(StageError, match=r"tokenizer: 2 tokens have other ids in the base \(300 tokens\).*first: 'a'"):
        open_pair(pair)


def test_tokenizers_differ_in_merges(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"].reverse()
    file.write_text(json.dumps(content))
    with pytest.raises(StageError, match="tokenizer: the merges of the base differ"):
        open_pair(pair)


def test_tokenizers_differ_in_special_ids(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<eos>"}))
    with pytest.raises(StageError, match="tokenizer: pad_token_id is 1 in the base, 0 in the checkpoint"):
        open_pair(pair)


def test_a_folder_without_a_model_is_named(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StageError, match=r"empty: no usable model config"):
        open_pair((tmp_path / "empty", pair[1]))


def test_tokenizers_that_were_only_written_otherwise_match(pair: tuple[Path, Path]) -> None:
    file = pair[1] / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=3))
    (pair[1] / "chat_template.jinja").write_text("{{ messages }}")
    assert open_pair(pair).tokenizer.eos_token == "<eos>"
