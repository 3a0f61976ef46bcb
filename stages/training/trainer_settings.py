"""What both trainers are told: the optimizer, the precision, what is logged, and that nothing leaves this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from stages import grpo, sft
from stages.contract import Context
from stages.modeling.checkpoint import device


def settings(config: sft.Config | grpo.Config, work: Path) -> dict[str, Any]:
    """Arguments of a trainer that works in `work`; each is said, so that no default decides what is trained."""
    on_accelerator = device().type == "cuda"
    return {
        "use_cpu": not on_accelerator,  # else accelerate starts no process group on a CPU, and refuses bfloat16
        "output_dir": str(work),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "optim": "adamw_torch_fused",
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": 1e-8,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.gradient_clip,
        "bf16": config.compute_dtype == "bfloat16" and config.dtype == "float32",
        "seed": config.seed,
        # Recomputing activations trades time for memory, which only an accelerator is short of.
        "gradient_checkpointing": on_accelerator,
        "dataloader_pin_memory": on_accelerator,
        # Every parameter is used in every step, and the buffers are constants.
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # callbacks decide: at the end of an epoch, at the boundary of a rollout
        "report_to": "none",
        "disable_tqdm": True,
    }


def check_ranks(arguments: TrainingArguments, context: Context) -> None:
    """The trainer must have found the processes that the worker started, or every batch would be another one."""
    found = (arguments.process_index, arguments.world_size)
    assert found == (context.rank, context.world), f"rank and world are {found}, not {(context.rank, context.world)}"
