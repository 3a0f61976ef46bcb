"""Rollouts by a vLLM engine that lives in the training process, with the trainer's weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import ensure_master_addr_port

from stages.contract import Input
from stages.generation import vllm_engine
from stages.generation.vllm_engine import VllmEngine
from stages.grpo import Config
from stages.modeling.checkpoint import device

if TYPE_CHECKING:
    from stages.training.grpo_trainer import PolicyTrainer

#: Share of a GPU's memory for the engine beside the trainer (TRL's default).
GPU_SHARE = 0.3


class Rollouts(VLLMGeneration):
    """TRL's colocated generation, but with an engine started here and, on a CPU, with vLLM's own weight reload."""

    def __init__(self, source: Input, config: Config, trainer: PolicyTrainer) -> None:
        self._source = source
        self._config = config
        super().__init__(
            model=trainer.model,
            accelerator=trainer.accelerator,
            processing_class=trainer.processing_class,
            mode="colocate",
            gpu_memory_utilization=GPU_SHARE,
            max_model_length=config.max_prompt + config.max_new_tokens,
            max_num_seqs=trainer.args.generation_batch_size // trainer.accelerator.num_processes,
            temperature=config.temperature,
            top_p=config.top_p,
            max_completion_length=config.max_new_tokens,
            generation_kwargs={"detokenize": False},  # TRL decodes the completions itself
        )
        self.engine = VllmEngine(self.llm, trainer.processing_class, trainer.model.generation_config)

    def sync_weights(self) -> None:
        """Give the engine the trainer's weights."""
        if device().type != "cpu":
            super().sync_weights()
            return
        # vLLM's CPU layers pack their weights when they are loaded, and TRL's sync would load into the packed ones;
        # vLLM's reload unpacks, loads and packs again.
        runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
        runner.reload_weights(weights_iterator=self._iter_named_params())
        if self.model.config.tie_word_embeddings:
            # The reload never meets the head of a tied model: its packed copy of the embedding would stay the old one.
            engine_model = runner.get_model()
            head = engine_model.lm_head.tie_weights(engine_model.model.embed_tokens)
            head.quant_method.process_weights_after_loading(head)
        self.llm.reset_prefix_cache()

    def _init_vllm(self) -> None:
        # TRL's own leaves the dtype to vLLM, which casts a float32 checkpoint down to 16 bits.
        self.llm = vllm_engine.start(
            self._source,
            dtype=self._config.engine_dtype,
            positions=self.max_model_length,
            sequences=self.max_num_seqs,
            logprobs_mode="processed_logprobs",  # of the distribution that was sampled: to compare with the trainer's
            **self._launch(),
        )
        self._llm_weights_sleeping = False
        self.accelerator.wait_for_everyone()

    def _launch(self) -> dict[str, Any]:
        """What depends on the devices: with several ranks, each has an engine in the trainer's process group."""
        options: dict[str, Any] = {}
        if device().type == "cuda":
            options["gpu_memory_utilization"] = self.gpu_memory_utilization
        if self.accelerator.num_processes > 1:
            os.environ["RANK"] = str(self.accelerator.process_index)
            os.environ["LOCAL_RANK"] = str(self.accelerator.local_process_index)
            os.environ["WORLD_SIZE"] = str(self.accelerator.num_processes)
            ensure_master_addr_port()
            options["distributed_executor_backend"] = "external_launcher"
            options["seed"] = self.accelerator.process_index
        return options
