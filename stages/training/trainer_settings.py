"""What both trainers are told: the optimizer, the precision, the sharding, and that nothing leaves this machine."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import DistributedType  # type: ignore[import-untyped]
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainingArguments

from stages import grpo, sft
from stages.contract import Context
from stages.modeling.checkpoint import device
from stages.training import ranks


def settings(config: sft.Config | grpo.Config, context: Context) -> dict[str, Any]:
    """Arguments of a trainer that works in `context.work`; each is said, so that no default decides what is trained."""
    ranks.join(context)
    on_accelerator = device().type == "cuda"
    checkpointing = context.resources.checkpointing
    return {
        "use_cpu": not on_accelerator,  # else accelerate starts no process group on a CPU, and refuses bfloat16
        "output_dir": str(context.work),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": 0,
        "optim": "adamw_torch_fused",
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": 1e-8,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.gradient_clip,
        "bf16": _autocast(config),
        "seed": config.seed,
        # Recomputing activations trades time for memory, which only an accelerator is short of.
        "gradient_checkpointing": on_accelerator if checkpointing is None else checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "dataloader_pin_memory": on_accelerator,
        # Every parameter is used in every step, and the buffers are constants.
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        **(_SHARDED if _shards(context) else {}),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # callbacks decide: by the clock, at the boundary of a rollout
        "report_to": "none",
        "disable_tqdm": True,
    }


#: FSDP2: parameters, gradients and optimizer cut over the ranks, layer by layer gathered for as long as one computes.
_SHARDED = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",
    },
}


def settle(arguments: TrainingArguments, config: sft.Config | grpo.Config, context: Context) -> None:
    """Check the processes that the trainer found, and say of the sharding what its arguments cannot."""
    found = (arguments.process_index, arguments.world_size)
    assert found == (context.rank, context.world), f"rank and world are {found}, not {(context.rank, context.world)}"
    if not _shards(context):
        return
    if _autocast(config):  # gradients are summed over the ranks in float32, as verl does
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        arguments.fsdp_plugin_args["mixed_precision_policy"] = policy
    if arguments.distributed_state.distributed_type == DistributedType.MULTI_CPU:
        # accelerate shards over GPUs only, though torch does so on a CPU as well.
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _shards(context: Context) -> bool:
    return context.resources.sharding == "fsdp2" and context.world > 1


def _autocast(config: sft.Config | grpo.Config) -> bool:
    return config.compute_dtype == "bfloat16" and config.dtype == "float32"
