"""Generation with vLLM: the engine lives in this process and computes in the dtype it is told."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase
from vllm import LLM, SamplingParams
from vllm.outputs import CompletionOutput

from stages import weight_files
from stages.contract import Input, StageError
from stages.generation.engine import Completion, Engine, Sampling, decode, end_ids, prompt_seed, until_stop
from stages.modeling import loading
from stages.modeling.checkpoint import DTYPES, device, load_tokenizer

#: Sequences decoded together on a CPU; more are not faster there.
CPU_SEQUENCES = 256
#: Tokens of one engine step; vLLM's memory profile of more is too pessimistic beside a trainer (TRL's value).
BATCHED_TOKENS = 4096
#: Bytes of KV cache on a CPU: what `CPU_SEQUENCES` full sequences need, but no more than this unless one needs it.
CPU_CACHE = 1 << 30
#: Tokens per block of the KV cache on a CPU.
CPU_BLOCK = 128


@dataclass(frozen=True)
class Request:
    """A prompt that was given to vLLM: whose it is, vLLM's own id of it, and where its completions stop."""

    key: int
    id: str
    stop: Sequence[str]


class VllmEngine(Engine):
    """Generates with a vLLM engine."""

    def __init__(self, llm: LLM, tokenizer: PreTrainedTokenizerBase, generation: GenerationConfig | None) -> None:
        self._llm = llm
        self._tokenizer = tokenizer
        self._ends = end_ids(tokenizer, generation)
        self._open: dict[str, Request] = {}  # what is not finished, by the id that vLLM's outputs have
        self.positions = int(llm.llm_engine.model_config.max_model_len)
        self.capacity = int(llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    @classmethod
    def load(cls, source: Input, *, dtype: str, tensor_parallel: int = 1) -> VllmEngine:
        """An engine for a checkpoint, with all of its positions, each layer cut over `tensor_parallel` GPUs."""
        sequences = CPU_SEQUENCES if device().type == "cpu" else None
        llm = start(source, dtype=dtype, sequences=sequences, tensor_parallel_size=tensor_parallel)
        return cls(llm, load_tokenizer(source), generation_config(source))

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        # What `LLM.generate` does with its prompts, for one of them.
        [request] = self._llm.enqueue(
            [{"prompt_token_ids": prompt}], [self._parameters(prompt, sampling)], use_tqdm=False
        )
        self._open[request.rpartition("-")[0]] = Request(key, request, sampling.stop)

    def step(self) -> list[tuple[int, list[Completion]]]:
        finished = []
        for output in self._llm.llm_engine.step():
            request = self._open.pop(output.request_id)
            completions = [self._completion(one, request.stop) for one in output.outputs]
            finished.append((request.key, completions))
        return finished

    @property
    def unfinished(self) -> int:
        return self._llm.llm_engine.get_num_unfinished_requests()  # each sample is a request

    def abort(self) -> None:
        self._llm.llm_engine.abort_request([request.id for request in self._open.values()], internal=True)
        self._open.clear()

    def reload(self, folder: Path) -> None:
        # In each of the engine's processes; on a CPU, packed weights are unpacked before, and packed again.
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        if device().type == "cpu":
            self._tie_packed_head()
        self._llm.reset_prefix_cache()

    def update(self, parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take these weights, by the names of the checkpoint; for an engine in this process."""
        runner = self._llm.llm_engine.model_executor.driver_worker.model_runner
        if device().type == "cpu":
            # vLLM's CPU layers pack their weights when they are loaded: a reload unpacks, loads and packs again.
            runner.reload_weights(weights_iterator=parameters)
            self._tie_packed_head()
        else:
            for parameter in parameters:  # one at a time: each is gathered from all ranks
                runner.model.load_weights([parameter])
        self._llm.reset_prefix_cache()

    def sleep(self) -> None:
        """Give the memory of the cache and of the weights back; `wake` needs new weights."""
        self._llm.sleep(level=2)

    def wake(self, update: Callable[[], None]) -> None:
        """Take the memory again, and the weights by `update`."""
        self._llm.wake_up(tags=["weights"])
        update()
        self._llm.wake_up(tags=["kv_cache"])

    def _tie_packed_head(self) -> None:
        """Pack the head of a tied model again: a reload never meets it, and its packed copy would stay the old one."""
        model = self._llm.llm_engine.model_executor.driver_worker.model_runner.get_model()
        if model.config.tie_word_embeddings:
            head = model.lm_head.tie_weights(model.model.embed_tokens)
            head.quant_method.process_weights_after_loading(head)

    def _parameters(self, prompt: list[int], sampling: Sampling) -> SamplingParams:
        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_new_tokens, self.positions - len(prompt)),
            stop=list(sampling.stop),
            detokenize=bool(sampling.stop),  # the text is decoded here; vLLM needs it only to find a stop string
            stop_token_ids=self._ends,
            seed=None if sampling.temperature == 0 or sampling.seed is None else prompt_seed(sampling.seed, prompt),
            logprobs=0 if sampling.logprobs else None,  # of the sampled token alone
        )

    def _completion(self, output: CompletionOutput, stop: Sequence[str]) -> Completion:
        # Decoded here and not by vLLM, so that both engines give the same text for the same ids.
        ids = list(output.token_ids)
        text, stopped = until_stop(decode(self._tokenizer, ids), stop)
        finished = stopped or (bool(ids) and ids[-1] in self._ends)
        if output.logprobs is None:
            return Completion(ids, text, finished)
        logprobs = [found[token].logprob for token, found in zip(ids, output.logprobs, strict=True)]
        return Completion(ids, text, finished, logprobs)


def start(
    source: Input, *, dtype: str, positions: int | None = None, sequences: int | None = None, **options: Any
) -> LLM:
    """Start an engine: `positions` bounds prompt and completion together, `sequences` how many are decoded at once.

    Raises:
        StageError: vLLM refuses the checkpoint, or would leave something out of it without a word.
    """
    if source.path is not None:
        loading.check_headers(Path(source.model))
    with _read_by_vllm(source) as model:
        return _start(model, dtype, positions, sequences, options)


@contextmanager
def _read_by_vllm(source: Input) -> Iterator[Input]:
    """The source with the files of its checkpoint alone: without an index vLLM reads all weights that it finds."""
    folder = Path(source.model)
    if source.path is None or loading.pickled(folder):
        yield source
        return
    found = weight_files.find(folder)
    foreign = {file.name for file in folder.glob("*.safetensors")} - {file.name for file in found.files}
    foreign |= {weight_files.INDEX} if found.index is None else set()
    if not any((folder / name).is_file() for name in foreign):
        yield source
        return
    with tempfile.TemporaryDirectory() as place:
        for file in folder.iterdir():
            if file.name not in foreign:
                (Path(place) / file.name).symlink_to(file.absolute())
        yield replace(source, path=Path(place))


def _start(source: Input, dtype: str, positions: int | None, sequences: int | None, options: Mapping[str, Any]) -> LLM:
    settings: dict[str, Any] = {
        "model": source.model,
        "tokenizer_revision": source.revision,
        "revision": source.revision,
        "dtype": dtype,
        "max_model_len": positions,
        "max_num_seqs": sequences,
        "max_num_batched_tokens": BATCHED_TOKENS,
        "seed": 0,
        "trust_remote_code": False,
        "use_tqdm_on_load": False,
        "logprobs_mode": "processed_logprobs",  # of the distribution that is sampled from
    }
    with torch.random.fork_rng():  # vLLM seeds the global generators when it starts
        try:
            return LLM(**{**settings, **(_cpu_settings(source, settings) if device().type == "cpu" else {}), **options})
        except (ValueError, OSError) as error:  # a checkpoint or a length that vLLM refuses
            raise StageError(f"{source.model}: vLLM refuses it: {error}") from None


def generation_config(source: Input) -> GenerationConfig | None:
    """What the checkpoint declares about generation, if it does."""
    try:
        return GenerationConfig.from_pretrained(source.model, revision=source.revision or "main")
    except OSError:
        return None


def _cpu_settings(source: Input, settings: dict[str, Any]) -> dict[str, Any]:
    """On a CPU compiling and profiling take longer than a small model's whole work, so neither is done."""
    torch._dynamo.config.disable = True  # `enforce_eager` leaves the sampler's functions to torch.compile
    model = AutoConfig.from_pretrained(source.model, revision=source.revision, trust_remote_code=False)
    positions = settings["max_model_len"] or int(model.max_position_embeddings)
    blocks = math.ceil(positions / CPU_BLOCK) + 1  # of one full sequence, and one to spare
    one = blocks * CPU_BLOCK * _cache_bytes(model, DTYPES[settings["dtype"]].itemsize)
    cache = max(one, min(CPU_CACHE, (settings["max_num_seqs"] or CPU_SEQUENCES) * one))
    return {
        "enforce_eager": True,
        "kv_cache_memory_bytes": cache,
        # A prompt is read in one step: vLLM cannot give a CPU generator back what it drew for a half-read prompt, and
        # stops ("CPU Generator does not use offset").
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(positions, settings["max_num_batched_tokens"]),
    }


def _cache_bytes(model: PretrainedConfig, itemsize: int) -> int:
    """Bytes of KV cache per token."""
    width = getattr(model, "head_dim", None) or model.hidden_size // model.num_attention_heads
    return 2 * model.num_hidden_layers * model.num_key_value_heads * width * itemsize
