"""Whether a base and a checkpoint are two states of one model: everything that can be refused before computing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from stages import model_config, remote_code
from stages.contract import Input, StageError
from stages.headers import Stored
from stages.modeling import checkpoint as checkpoints
from stages.modeling import loading
from stages.rejuvenation import architecture, vocabulary
from stages.rejuvenation.weights import DTYPES, EMBEDDING, NORM, UNEMBEDDING, Weights, readable

#: Fields of a config that say which tensors there are: of two models that are compared, not fused, these must agree.
_SHAPES = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "tie_word_embeddings"),
)

#: Files of a checkpoint that are read or kept: weights, configs, tokenizer.
FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken")

#: Mismatching tensors that are listed one by one; a foreign model would fill the screen.
_LISTED = 8


@dataclass(frozen=True)
class Pair:
    """A base and the checkpoint that was trained from it, found to match.

    `modules`: where their neurons are; none of a family in which that is not known.
    """

    base: Weights
    checkpoint: Weights
    config: PretrainedConfig
    modules: list[architecture.Module]
    source: Input

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's, which fusion does not need: a large vocabulary takes seconds to load."""
        tokenizer = checkpoints.load_tokenizer(self.source, ends=True)
        checkpoints.refuse_rowless(self.source.model, tokenizer, self.config.vocab_size)
        return tokenizer

    @property
    def neurons(self) -> int:
        return sum(module.neurons for module in self.modules)


def open_pair(base: Input, checkpoint: Input, *, neurons: bool = True, fused: bool = True) -> Pair:
    """Open both checkpoints for reading, tensor by tensor.

    `neurons`: whether it is to be known where the neurons are, which it is in some families. `fused`: whether the two
    are taken for states of one function, and not only compared.

    Raises:
        StageError: they cannot be read or do not match; it names everything that differs.
    """
    configs = [_config(source) for source in (base, checkpoint)]
    problems = [
        line
        for config, source in zip(configs, (base, checkpoint), strict=True)
        for line in _odd(config, source, neurons=neurons)
    ]
    problems += _differing_fields(*configs, fused=fused)
    if problems:  # tensors of different architectures differ in every name: that would only bury the reason
        raise StageError("\n".join(problems))
    weights = [
        Weights(model_folder(source), tied=bool(config.tie_word_embeddings))
        for source, config in zip((base, checkpoint), configs, strict=True)
    ]
    problems = _odd_tensors(weights[0]) + _odd_tensors(weights[1]) + _differing_tensors(*weights)
    if not vocabulary.same_files(weights[0].folder, weights[1].folder):
        problems += vocabulary.differences(base, checkpoint)
    layers = configs[1].num_hidden_layers
    absent = _absent_tensors(weights[1], layers)
    known = configs[1].model_type in architecture.FAMILIES and not absent
    problems += absent if neurons else []
    if problems:
        raise StageError("\n".join(problems))
    for source in (base, checkpoint):  # what both lack, or have too much
        loading.check_headers(model_folder(source))
    modules = architecture.modules(weights[1].shapes, layers) if known else []
    return Pair(base=weights[0], checkpoint=weights[1], config=configs[1], modules=modules, source=checkpoint)


def model_folder(source: Input) -> Path:
    """The folder of a checkpoint's files: the artifact's, or the local copy of a hub repository at its commit."""
    if source.path is not None:
        return Path(source.model)
    try:
        return Path(
            huggingface_hub.snapshot_download(source.model, revision=source.revision, allow_patterns=list(FILES))
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise StageError(f"{source.model}: cannot be fetched from the hub: {error}") from None


def _config(source: Input) -> PretrainedConfig:
    if source.path is not None:
        remote_code.refuse(Path(source.model))
    try:
        return AutoConfig.from_pretrained(source.model, revision=source.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:  # a missing config.json, or a model_type that transformers lacks
        raise StageError(f"{source.model}: no usable model config: {error}") from None


def _odd(config: PretrainedConfig, source: Input, *, neurons: bool) -> list[str]:
    """What keeps a model of this config from being fused, or attributed, at all."""
    problems = []
    if neurons and config.model_type not in architecture.FAMILIES:
        modules = ", ".join(f"{place}.{kind}" for kind, place in architecture.KINDS.items())
        problems.append(
            f"{source.model}: model_type {config.model_type!r} is not supported; allowed: "
            f"{', '.join(architecture.FAMILIES)} (modules looked for in model.layers.N: {modules})"
        )
    if getattr(config, "quantization_config", None):
        problems.append(f"{source.model}: quantised checkpoints are not supported (quantization_config)")
    return problems


def _differing_fields(base: PretrainedConfig, checkpoint: PretrainedConfig, *, fused: bool) -> list[str]:
    """Fields in which the two differ; of two that are only compared, those that say which tensors there are."""
    ours, theirs = (model_config.function(config.to_dict()) for config in (base, checkpoint))
    if not fused:
        ours, theirs = ({name: each[name] for name in _SHAPES if name in each} for each in (ours, theirs))
    return model_config.differences(ours, theirs, complete=True)


def _odd_tensors(weights: Weights) -> list[str]:
    odd = [t for t in weights.tensors.values() if not readable(t)]
    allowed = ", ".join(DTYPES)
    return _shortened([f"{t.file}: {t.name} has dtype {t.dtype}; allowed: {allowed}" for t in odd])


def _absent_tensors(weights: Weights, layers: int) -> list[str]:
    """What a model of this many layers must have, and this one lacks as its base does."""
    absent = architecture.missing_modules(weights.tensors, layers)
    absent += [name for name in (EMBEDDING, NORM, UNEMBEDDING) if weights.find(name) is None]
    return _shortened([f"{weights.folder}: no tensor {name}" for name in absent])


def _differing_tensors(base: Weights, checkpoint: Weights) -> list[str]:
    problems = []
    for name in sorted(base.tensors.keys() | checkpoint.tensors.keys()):
        ours, theirs = base.find(name), checkpoint.find(name)
        if (ours or theirs).is_buffer:  # type: ignore[union-attr]  # one of them is there
            continue
        if ours is None or theirs is None or ours.shape != theirs.shape:
            problems.append(f"{name}: {_shape(ours)} in the base, {_shape(theirs)} in the checkpoint")
    return _shortened(problems)


def _shape(tensor: Stored | None) -> str:
    return "absent" if tensor is None else f"shape {list(tensor.shape)}"


def _shortened(problems: list[str]) -> list[str]:
    rest = len(problems) - _LISTED
    return problems if rest <= 0 else [*problems[:_LISTED], f"... and {rest} more tensors"]
