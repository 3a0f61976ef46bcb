"""Floating-point operations of a node, by the usual count: 2 P a token forward, 4 P backward (arXiv 2001.08361, 2.1).

P parameters. Attention itself is left out (a few percent at 2,048 tokens), and so is what is no product of a model.

    sft         6 P a token, 8 P where activations are computed again; all rows are taken to be as long as they may be
    grpo        the same for each token of a rollout, 2 P each for the reference and for the old log-probabilities,
                which TRL computes where a rollout has several optimizer steps, 2 P a prompt token once, and 2 P a
                token to generate, also for validation; all as long as they may be, and drawn as often as they may be
    evaluate    2 P a generated token, and a token of a prompt
    attribute   three forward passes, 6 P a token, and 2 P a target and position before it
    diagnose    2 P a token and model, again at the targets, and for each loss around a model
    pretrain    6 P a token
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.forecast.memory import Setting, recomputes

#: Share of a GPU's bfloat16 rate that products of many tokens reach, with everything around them. An assumption.
UTILISATION = 0.4
#: The same while an engine generates: a step reads all weights for one token of each sequence. An assumption.
GENERATING = 0.15
#: Products of float32 to those of bfloat16: 67 to 989 TFLOP/s on an H100, 19.5 to 312 on an A100.
FLOAT32 = 1 / 16


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations as if all were bfloat16: those of products of many tokens, and those of generation.

    `most`: whether it may be less.
    """

    dense: float
    generated: float = 0.0
    most: bool = True

    @property
    def weighed(self) -> float:
        """Operations at the full rate of a GPU that would take as long."""
        return self.dense / UTILISATION + self.generated / GENERATING


def of(stage: str, setting: Setting, rows: int | None = None, done: int = 0) -> Work | None:
    """The work of a node; None if it is none for a GPU, or not known.

    `rows` are those of its demonstrations or of its benchmark, where they are known, `done` the epochs of the run that
    it continues.
    """
    return _STAGES[stage](setting, rows, done) if stage in _STAGES else None


def _sft(setting: Setting, rows: int | None, done: int) -> Work | None:
    config = setting.config
    known = [each for each in (config["samples"], rows) if each is not None]
    if not known:
        return None
    batch = config["batch"]
    tokens = (config["epochs"] - done) * (min(known) // batch * batch) * config["max_length"]
    return Work(dense=_trained(setting) * tokens * _scale(config["compute_dtype"]))


def _grpo(setting: Setting, rows: int | None, done: int) -> Work:
    config, parameters = setting.config, setting.shape.parameters
    completions = config["prompts"] * config["completions"]
    tokens = completions * (config["max_prompt"] + config["max_new_tokens"])
    steps = config["prompts"] // config["mini_batch"] * config["passes"]
    scored = (2 if config["beta"] > 0 else 0) + (2 if steps > 1 else 0)
    step = tokens * (config["passes"] * _trained(setting) + scored * parameters)
    draws = config["max_draws"] if config["dynamic_sampling"] else 1
    prompts = 2 * parameters * config["prompts"] * config["max_prompt"] * draws
    generated = 2 * parameters * completions * config["max_new_tokens"] * draws
    validations = config["rollouts"] // config["validate_every"] + 2 if config["validate_every"] else 0
    validated = config["validation_problems"] * config["validation_samples"] * config["max_new_tokens"]
    return Work(
        dense=config["rollouts"] * (step * _scale(config["compute_dtype"]) + prompts * _scale(config["engine_dtype"])),
        generated=(config["rollouts"] * generated + 2 * parameters * validations * validated)
        * _scale(config["engine_dtype"]),
    )


def _evaluate(setting: Setting, rows: int | None, done: int) -> Work | None:
    config, shape = setting.config, setting.shape
    problems = config["problems"] or rows
    if problems is None:
        return None
    each = 2 * shape.parameters * problems * _scale(config["dtype"])
    prompt = max(0, shape.positions - config["max_new_tokens"])
    return Work(dense=each * prompt, generated=each * config["k"] * config["max_new_tokens"])


def _attribute(setting: Setting, rows: int | None, done: int) -> Work:
    config, shape = setting.config, setting.shape
    tokens = config["samples"] * shape.positions
    targets = shape.positions if config["targets"] == "all" else config["targets_per_sample"]
    return Work(dense=(6 + 2 * targets) * shape.parameters * tokens * _scale(config["dtype"]))


def _diagnose(setting: Setting, rows: int | None, done: int) -> Work:
    config, shape = setting.config, setting.shape
    passes = config["samples"] * (2 if config["rho"] > 0 else 1)
    losses = config["sharpness_samples"] * (1 + 2 * len(config["scales"]) * (config["directions"] + 1))
    forward = 2 * shape.parameters * shape.positions * _scale(config["dtype"])
    return Work(dense=2 * (passes + losses) * forward)


def _pretrain(setting: Setting, rows: int | None, done: int) -> Work:
    config = setting.config
    tokens = config["steps"] * config["batch"] * config["length"]
    return Work(dense=6 * setting.shape.parameters * tokens * _scale(config["dtype"]), most=False)


def _trained(setting: Setting) -> int:
    """Operations for each token that is trained on."""
    return (8 if recomputes(setting) else 6) * setting.shape.parameters


def _scale(dtype: str) -> float:
    return 1 / FLOAT32 if dtype == "float32" else 1.0


_STAGES: dict[str, Callable[[Setting, int | None, int], Work | None]] = {
    "sft": _sft,
    "grpo": _grpo,
    "evaluate": _evaluate,
    "attribute": _attribute,
    "diagnose": _diagnose,
    "pretrain": _pretrain,
}
