"""What every generation engine does: token ids in, completions out; and how one is opened for a checkpoint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.contract import Input, Resources
from stages.generation import vllm_environment
from stages.modeling import checkpoint

#: What is given to an engine at once, as a multiple of what it generates together.
AHEAD = 2


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
            rounding: a matrix product of another shape may round differently). None: from the engine's own generator,
            so on everything that was drawn before; only vLLM can do that.
        logprobs: whether completions come with the log-probabilities of their tokens, of the distribution that was
            sampled from; only vLLM can do that.
    """

    n: int
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    seed: int | None
    logprobs: bool = False


@dataclass(frozen=True)
class Completion:
    """One answer: its token ids (the eos included), its text without special tokens, whether it ended by itself, and
    the log-probability of each token where they were asked for."""

    token_ids: list[int]
    text: str
    finished: bool
    logprobs: list[float] | None = None


class Engine(ABC):
    """A loaded model that generates: requests are added, and every step brings it nearer to their completions.

    Attributes:
        positions: the largest length of prompt and completion together; every prompt is shorter.
        capacity: completions that are generated together. With fewer at hand the engine is not fully used.
    """

    positions: int
    capacity: int

    @abstractmethod
    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        """Ask for `sampling.n` completions of a prompt. `key` is no other's that is still to come."""

    @abstractmethod
    def step(self) -> list[tuple[int, list[Completion]]]:
        """Work on what was added; returns key and completions of the prompts that this finished."""

    @property
    @abstractmethod
    def unfinished(self) -> int:
        """Completions that were asked for and are not done, as far as is known here."""

    @abstractmethod
    def abort(self) -> None:
        """Forget what was added and is not finished."""

    @abstractmethod
    def reload(self, folder: Path) -> None:
        """Take the weights in the safetensors files of `folder`, of the same model. Nothing is unfinished then."""

    def stream(self, prompts: Sequence[list[int]], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """The index of a prompt and its `sampling.n` completions, as soon as the last of them is done, in any order.

        Only a little more than what is generated together is with the engine at any time. Whoever stops listening
        ends the work.
        """
        waiting = iter(longest_first(prompts))
        inside = 0
        try:
            while True:
                while self.unfinished < AHEAD * self.capacity and (index := next(waiting, None)) is not None:
                    self.add(index, prompts[index], sampling)
                    inside += 1
                if inside == 0:
                    return
                for finished in self.step():
                    inside -= 1
                    yield finished
        finally:
            if inside:
                self.abort()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[Completion]]:
        """`sampling.n` completions for each prompt, in order."""
        found = dict(self.stream(prompts, sampling))
        return [found[index] for index in range(len(prompts))]


def load(source: Input, *, engine: str, dtype: str, resources: Resources) -> Engine:
    """Open `engine` ("vllm" or "transformers") for a checkpoint, computing in `dtype`, in as many copies as
    `resources` has room for."""
    if resources.copies > 1:
        from stages.generation.replicas import Replicas

        return Replicas(source, engine=engine, dtype=dtype, resources=resources)
    return load_one(source, engine=engine, dtype=dtype, resources=resources)


def load_one(source: Input, *, engine: str, dtype: str, resources: Resources) -> Engine:
    """Open an engine in this process, with all the GPUs that are visible to it."""
    if engine == "vllm":
        vllm_environment.prepare()
        vllm_environment.stay_here()
        from stages.generation.vllm_engine import VllmEngine  # loads vLLM, which a transformers run does without

        return VllmEngine.load(source, dtype=dtype, tensor_parallel=resources.tensor_parallel)
    from stages.generation.transformers_engine import TransformersEngine

    model = checkpoint.load_model(source, dtype=dtype)
    return TransformersEngine(model, checkpoint.load_tokenizer(source), batch=resources.per_device_batch)


def longest_first(prompts: Sequence[list[int]]) -> list[int]:
    """Indices of prompts: those of like length are neighbours, as padding wants it, and what takes longest is early."""
    return sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))


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
