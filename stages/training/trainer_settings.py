"""What both trainers are told: the optimizer, the precision, what is logged, and that nothing leaves this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages import grpo, sft
from stages.modeling.checkpoint import device


def settings(config: sft.Config | grpo.Config, work: Path) -> dict[str, Any]:
    """Arguments of a trainer that works in `work`; each is said, so that no default decides what is trained."""
    on_accelerator = device().type == "cuda"
    return {
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
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # callbacks decide: at the end of an epoch, at the boundary of a rollout
        "report_to": "none",
        "disable_tqdm": True,
    }
