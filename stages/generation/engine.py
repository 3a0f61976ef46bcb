"""What every generation engine does: token ids in, completions out; and how one is opened for a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.contract import Input, Resources
from stages.generation import vllm_environment
from stages.modeling import checkpoint


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample.

    Attributes:
        n: completions per prompt.
        temperature: 0 is greedy.
        top_p: probability mass to sample from, 1 for all.
        max_new_tokens: tokens after which a completion is cut; the model's positions cut it earlier.
        stop: strings that end a completion; they are not part of its text.
        seed: a prompt's completions depend on the seed, the prompt and the weights, not on its batch (but for
            rounding: a matrix product of another shape may round differently).
    """

    n: int
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    seed: int


@dataclass(frozen=True)
class Completion:
    """One answer: its token ids (the eos included), its text without special tokens, and whether it ended by itself."""

    token_ids: list[int]
    text: str
    finished: bool


class Engine(Protocol):
    """A loaded model that generates. `positions` is the largest length of prompt and completion together."""

    positions: int

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions for each prompt, in order. Every prompt is shorter than `positions`."""
        ...


def load(source: Input, *, engine: str, dtype: str, resources: Resources) -> Engine:
    """Open `engine` ("vllm" or "transformers") for a checkpoint, computing in `dtype`."""
    if engine == "vllm":
        vllm_environment.prepare()
        from stages.generation.vllm_engine import VllmEngine  # loads vLLM, which a transformers run does without

        return VllmEngine.load(source, dtype=dtype)
    from stages.generation.transformers_engine import TransformersEngine

    model = checkpoint.load_model(source, dtype=dtype)
    return TransformersEngine(model, checkpoint.load_tokenizer(source), batch=resources.per_device_batch)


def prompt_seed(seed: int, prompt: Sequence[int]) -> int:
    """A seed in [0, 2^31) of its own for every prompt, whatever its place in the batch."""
    text = ",".join(map(str, [seed, *prompt]))
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=4).digest()) >> 1


def end_ids(tokenizer: PreTrainedTokenizerBase, generation: GenerationConfig | None) -> list[int]:
    """Every token id that ends a completion: the tokenizer's eos and what the model declares (TRL's rule)."""
    declared = generation.eos_token_id if generation is not None else None
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({int(i) for i in [tokenizer.eos_token_id, *ids] if i is not None})


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of a completion, as TRL decodes it for the reward."""
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one. `("1 Q: 2", ["Q:"])` gives `("1 ", True)`."""
    cuts = [at for at in map(text.find, stop) if at >= 0]
    return (text[: min(cuts)], True) if cuts else (text, False)
