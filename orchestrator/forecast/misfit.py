"""What cannot run as it is configured: refused while it is planned, with the arithmetic and what would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from launch.job import Cluster
from orchestrator.forecast import remedy
from orchestrator.forecast.load import GB, Load
from orchestrator.forecast.outlook import Forecast, Outlook
from orchestrator.names import full
from orchestrator.refusal import ConfigError
from stages import contract
from stages.generation import vllm_environment


def errors(outlook: Outlook) -> list[str]:
    """Everything that keeps a node of this plan from running, each once."""
    found: dict[str, None] = {}
    for each in outlook.to_run:
        found |= dict.fromkeys([*_processes(each, outlook.cluster), *_positions(each)])
    found |= dict.fromkeys(_memory(outlook.to_run, outlook.cluster))
    return list(found)


def kernels(outlook: Outlook) -> list[str]:
    """What no engine can generate with on the processors of this plan, each once: it depends on where a study runs."""
    return list(dict.fromkeys(message for each in outlook.to_run for message in _heads(each)))


def _processes(each: Forecast, cluster: Cluster) -> Iterator[str]:
    """What a stage says of so many processes."""
    stage = contract.load(each.node.stage)
    if not hasattr(stage, "fits"):
        return
    needs = cluster.needs(each.node.stage)
    try:
        config = stage.Config(**each.node.config)
    except ValueError as error:  # it was valid when the graph was made
        raise ConfigError([str(error)]) from None
    place = each.place
    of = f"{place.ranks} on {'one machine' if place.machines == 1 else f'each of {place.machines} machines'}"
    for message in stage.fits(config, needs.seen, place.world):
        yield f"{each.node.stage}.{message} ({_key(each.node.stage, cluster)}: {of})"


def _positions(each: Forecast) -> Iterator[str]:
    """A context that is longer than the model's."""
    if each.setting is None or each.checkpoint is None:
        return
    config, positions, stage = each.node.config, each.setting.shape.positions, each.node.stage
    has = f"{each.checkpoint.name} has {positions:,} positions"
    if stage == "grpo" and config["max_prompt"] + config["max_new_tokens"] > positions:
        both = f"grpo.max_prompt={config['max_prompt']} and grpo.max_new_tokens={config['max_new_tokens']}"
        sum_up = config["max_prompt"] + config["max_new_tokens"]
        yield f"{both}: together {sum_up:,} tokens, but {has}; lower one of them"
    if stage == "sft" and config["max_length"] > positions:
        yield f"sft.max_length={config['max_length']}: tokens, but {has}; allowed: at most {positions}"
    if stage == "evaluate" and config["max_new_tokens"] >= positions:
        lower = f"they leave no room for a prompt; allowed: below {positions}"
        yield f"evaluate.max_new_tokens={config['max_new_tokens']}: {has}, and {lower}"


def _heads(each: Forecast) -> Iterator[str]:
    """Heads of a width that vLLM has no kernel for where there is no GPU."""
    root, stage = each.checkpoint, each.node.stage
    if root is None or root.head_width is None or each.node.config.get("engine") != "vllm" or each.place.held:
        return
    if root.head_width not in vllm_environment.CPU_HEADS:
        allowed = ", ".join(map(str, vllm_environment.CPU_HEADS))
        made = "set pretrain.width and pretrain.heads so that width / heads is one of them, or " if not root.key else ""
        yield (
            f"{stage}.engine=vllm: on a CPU vLLM has no attention for heads of {root.head_width}, which {root.given} "
            f"has; allowed: {allowed}; {made}set {stage}.engine=transformers, or give {stage} a GPU (cluster)"
        )


def _memory(about: Iterable[Forecast], cluster: Cluster) -> Iterator[str]:
    """GPUs that are too small, one message for all nodes of the same arithmetic."""
    alike: dict[tuple[str, tuple[Load, ...]], list[Forecast]] = {}
    for each in about:
        memory = cluster.needs(each.node.stage).gpu_memory
        if memory is not None and not all(load.fits(memory) for load in each.loads):
            alike.setdefault((each.node.stage, each.loads), []).append(each)
    for (stage, loads), several in alike.items():
        worst = max(loads, key=lambda load: load.needed)
        yield f"{_need(stage, worst, several, cluster)}; {_remedies(several[0], cluster)}"


def _need(stage: str, load: Load, several: list[Forecast], cluster: Cluster) -> str:
    """`cluster.default.gpu_memory=80: GB, but sft/V needs 89.5 on each GPU, in a step: ... (P = ...)`."""
    memory = cluster.needs(stage).gpu_memory
    who = full(several[0].node) + (f" (and {len(several) - 1} more)" if len(several) > 1 else "")
    setting = several[0].setting
    assert setting is not None and memory is not None
    parts = " + ".join(f"{part.what} {part.bytes / GB:.1f} ({part.how})" for part in load.parts)
    of = "" if load.share == 1 else f", and has {load.share:.0%} of a GPU"
    return (
        f"{_key(stage, cluster)}.gpu_memory={memory:g}: GB, but {who} needs {load.needed:.1f}. {load.where[0].upper()}"
        f"{load.where[1:]}: {parts} = {load.bytes / GB:.1f} GB{of} (P = {setting.shape.parameters:,})"
    )


def _remedies(each: Forecast, cluster: Cluster) -> str:
    memory = cluster.needs(each.node.stage).gpu_memory
    assert each.setting is not None and memory is not None
    key = _override(each.node.stage, cluster)
    found = [
        " ".join(f"{key}.{field}={_text(value)}" for field, value in one.change.items()) + f" ({one.needed:.1f} GB)"
        for one in remedy.of(each.node.stage, each.setting, cluster, memory)
    ]
    helps = f"it would fit with {', or '.join(found)}" if found else "nothing that can be set here makes it fit"
    return f"{helps}; {_key(each.node.stage, cluster)}.gpu_memory=null refuses nothing"


def _key(stage: str, cluster: Cluster) -> str:
    """Where a cluster says what a stage asks for."""
    return f"cluster.stages.{stage}" if stage in cluster.stages else "cluster.default"


def _override(stage: str, cluster: Cluster) -> str:
    """What a command line says before a field, be it there or not: that of the class of a stage, or of its own."""
    own = cluster.stages.get(stage)
    classes = [name for name, each in cluster.classes.items() if each == own]
    return f"++cluster.classes.{classes[0]}" if len(classes) == 1 else f"++{_key(stage, cluster)}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
