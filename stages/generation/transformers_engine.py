"""Generation with transformers: left padding, a fixed number of rows at a time, every row with its own generator."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from stages.generation.engine import Completion, Engine, Sampling, decode, end_ids, prompt_seed, until_stop


class TransformersEngine(Engine):
    """Generates with a model in memory; it follows that model's weights."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch: int) -> None:
        """`batch` is the number of completions generated together; only memory and speed depend on it."""
        self._model = model
        self._tokenizer = tokenizer
        self._waiting: deque[tuple[int, int, list[int]]] = deque()  # key, sample and prompt of a row
        self._done: dict[int, list[Completion]] = {}  # of prompts whose samples are not all done
        self._sampling: Sampling | None = None
        self.capacity = batch
        self._ends = end_ids(tokenizer, model.generation_config)
        self.positions = int(model.config.max_position_embeddings)

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        assert not self._waiting or sampling == self._sampling, "what is generated together is sampled alike"
        assert sampling.seed is not None and not sampling.logprobs, "vLLM can"
        self._sampling = sampling
        self._waiting.extend((key, sample, prompt) for sample in range(sampling.n))

    def step(self) -> list[tuple[int, list[Completion]]]:
        assert self._sampling is not None
        rows = [self._waiting.popleft() for _ in range(min(self.capacity, len(self._waiting)))]
        found = self._generate_rows([(prompt, sample) for _, sample, prompt in rows], self._sampling)
        for (key, _, _), completion in zip(rows, found, strict=True):
            self._done.setdefault(key, []).append(completion)
        finished = [key for key, done in self._done.items() if len(done) == self._sampling.n]
        return [(key, self._done.pop(key)) for key in finished]

    @property
    def unfinished(self) -> int:
        return len(self._waiting)

    def abort(self) -> None:
        self._waiting.clear()
        self._done.clear()

    def reload(self, folder: Path) -> None:
        for file in sorted(folder.glob("*.safetensors")):
            self._model.load_state_dict(load_file(file), strict=False)

    @torch.inference_mode()
    def _generate_rows(self, rows: Sequence[tuple[list[int], int]], sampling: Sampling) -> list[Completion]:
        rooms = [min(sampling.max_new_tokens, self.positions - len(prompt)) for prompt, _ in rows]
        inputs = self._tokenizer.pad(
            {"input_ids": [prompt for prompt, _ in rows]}, padding_side="left", return_tensors="pt"
        ).to(self._model.device)
        width = inputs["input_ids"].shape[1]
        with _own_settings_alone(self._model):
            output: Tensor = self._model.generate(  # type: ignore[operator]
                **inputs,
                generation_config=self._settings(sampling, max(rooms)),
                logits_processor=LogitsProcessorList(self._samplers(rows, sampling)),
                stopping_criteria=StoppingCriteriaList([StopStrings(self._tokenizer, sampling.stop, width)]),
            )
        new = output[:, width:].tolist()
        return [self._completion(ids[:room], sampling.stop) for ids, room in zip(new, rooms, strict=True)]

    def _settings(self, sampling: Sampling, max_new_tokens: int) -> GenerationConfig:
        return GenerationConfig(
            do_sample=False,  # sampling is the processor's: argmax of its scores
            num_beams=1,
            max_new_tokens=max_new_tokens,
            eos_token_id=self._ends,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _samplers(self, rows: Sequence[tuple[list[int], int]], sampling: Sampling) -> list[LogitsProcessor]:
        if sampling.temperature == 0:
            return []
        assert sampling.seed is not None
        seeds = [prompt_seed(sampling.seed, prompt) + sample for prompt, sample in rows]
        return [SeededSampling(seeds, sampling, self._model.device)]

    def _completion(self, ids: list[int], stop: Sequence[str]) -> Completion:
        """Cut the padding off that `generate` puts behind the rows which ended first."""
        ended = next((i for i, token in enumerate(ids) if token in self._ends), None)
        if ended is not None:
            ids = ids[: ended + 1]
        text, stopped = until_stop(decode(self._tokenizer, ids), stop)
        while stopped and ids[-1] == self._tokenizer.pad_token_id:
            ids = ids[:-1]
        return Completion(ids, text, finished=stopped or ended is not None)


class SeededSampling(LogitsProcessor):
    """Turns the argmax of a batch into one independent sample per row (the Gumbel-max trick).

    `generate` draws a whole batch from one global generator, so a row's text would depend on its neighbours. Here row
    i adds Gumbel noise from a generator of its own: argmax(logits / temperature + noise) is a sample of the softmax.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = sampling.temperature
        self._top_p = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores of shape (rows, vocabulary)."""
        scores = scores.float() / self._temperature
        if self._top_p is not None:
            scores = self._top_p(input_ids, scores)  # type: ignore[arg-type]
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.log()


@contextmanager
def _own_settings_alone(model: PreTrainedModel) -> Iterator[None]:
    """Generate without the checkpoint's generation_config.json, from which transformers takes what is not said here.

    Qwen's has a repetition penalty; others may have a watermark, or a way to generate whose code is on the hub.
    """
    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


class StopStrings(StoppingCriteria):
    """Ends the rows whose new text has a stop string in its tail.

    transformers' own criterion looks into special tokens too ("<pad>" has an "a"), which are no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str], width: int) -> None:
        """`width` is the length of the padded prompts."""
        self._tokenizer = tokenizer
        self._stop = stop
        self._width = width
        self._tail = max(map(len, stop), default=0) * 4  # tokens; a character may take several

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if self._stop:
            tails = input_ids[:, max(self._width, input_ids.shape[1] - self._tail) :].tolist()
            ended[:] = torch.tensor([until_stop(decode(self._tokenizer, tail), self._stop)[1] for tail in tails])
        return ended  # type: ignore[return-value]
