"""TRL's GRPOTrainer with verl's loss and mini-batches, this project's tokenisation, and rollouts from any engine.

TRL generates, scores and trains; what is replaced is named by the methods below, each with the reason.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from accelerate.utils.fsdp_utils import fsdp2_prepare_model  # type: ignore[import-untyped]
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head, split_tensor_dict

from stages.data.tokens import prompt_ids
from stages.generation.engine import Sampling, prompt_seed
from stages.grpo import Config
from stages.training import policy_loss
from stages.training.grpo_reward import Reward
from stages.training.resumable import Resumable
from stages.training.rollouts import Beat, Rollouts
from stages.training.selection import Selection

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # its version is pinned, and what is used of it is tested

#: Tensors of a rollout with a column for each token of the completion.
_BY_TOKEN = (
    "completion_ids",
    "completion_mask",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
)
#: What is summed up over the tokens of an optimizer step: name in the log, and the sum that it is divided by.
_MEANS = {
    "entropy": "tokens",
    "kl": "tokens",
    "clip_share": "tokens",
    "dual_clip_share": "tokens",
    "sampling_mismatch": "sampled",
}


class PolicyTrainer(Resumable, GRPOTrainer):
    """GRPOTrainer for one policy.

    Attributes:
        skipped: updates that were skipped in a row because their gradient was not finite.
    """

    def __init__(
        self,
        *,
        config: Config,
        reward: Reward,
        reference: PreTrainedModel | None,
        rollouts: Rollouts,
        beat: Beat,
        args: GRPOConfig,
        **kwargs: Any,
    ) -> None:
        """`reference` is the frozen policy of the start, where the loss has a KL term; `kwargs` are GRPOTrainer's."""
        # With a beta of its own, TRL would load another copy of the reference by the name in the policy's config, and
        # shard it as one block.
        args.beta = 0.0
        super().__init__(rollout_func=self._roll_out, reward_funcs=reward, args=args, **kwargs)
        args.beta = self.beta = config.beta
        self.config = config
        self._reward = reward
        self.skipped = 0
        self.selection: Selection | None = None
        self._rollouts = rollouts
        self._beat = beat
        self._rewards = torch.empty(0)
        self._sums: dict[str, Tensor] = {}
        self._largest = torch.zeros((), device=self.accelerator.device)
        self._buffered_inputs: list[dict[str, Any]] | None = None
        if reference is not None:
            add_fused_lm_head(reference, temperature=self.temperature)
            self.ref_model = fsdp2_prepare_model(self.accelerator, reference) if self.is_fsdp_enabled else reference

    def sample(self, prompts: list[list[int]], sampling: Sampling) -> Any:
        """Completions under the policy of this moment; every rank calls it."""
        return self._rollouts.generate(prompts, sampling, self.state.global_step)

    def rollout_sampling(self, draw: int = 0) -> Sampling:
        """How rollouts are sampled now; `draw` counts the times that problems were drawn for this rollout before."""
        rollout = self.state.global_step // self.config.steps_per_rollout
        each = self.config.rollout_seeds == "each"
        return Sampling(
            n=self.config.completions,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_new_tokens=self.config.max_new_tokens,
            seed=prompt_seed(self.config.seed, [rollout, draw]) if each else None,
            logprobs=self._rollouts.can_log,
        )

    def _roll_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's hook: completions for prompts that come `completions` times each, as token ids of this project."""
        n = self.config.completions
        self._beat("rollout")
        ids = [prompt_ids(self.processing_class, prompt) for prompt in prompts[::n]]
        groups = self.selection.completions if self.selection else self.sample(ids, self.rollout_sampling())
        found = [completion for group in groups for completion in group]
        self._beat("grading")
        return {
            "prompt_ids": [each for each in ids for _ in range(n)],
            "completion_ids": [completion.token_ids for completion in found],
            "logprobs": [completion.logprobs for completion in found] if self._rollouts.can_log else None,
        }

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        """(N of all ranks, 1)"""
        if self.selection is None:
            self._rewards = super()._calculate_rewards(*args, **kwargs)
        else:  # it knows them already
            mine = torch.tensor(self.selection.rewards, device=self.accelerator.device).unsqueeze(1)
            self._rewards = self.accelerator.gather(mine)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.selection is not None:
            inputs = self.selection.select(inputs)
        found: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self._reward.check()
        # TRL adds 1e-4 to the deviation, verl 1e-6.
        every = policy_loss.group_advantages(
            self._rewards[:, 0], self.config.completions, std=self.config.advantage_std
        )
        mine = len(inputs) * self.accelerator.process_index
        found["advantages"] = every[mine : mine + len(inputs)]
        return found

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        # As TRL, but the completions stay in order: a mini-batch is whole groups, of the same problems whatever the
        # number of ranks (see `grpo_problems.rollout_rows`).
        within = self._step % (self.args.steps_per_generation * self.num_iterations)
        if within == 0 or self._buffered_inputs is None:
            rollout = self._generate_and_score_completions(generation_batch)
            rollout["tokens"] = self._tokens(rollout["completion_mask"])
            self._buffered_inputs = [
                trimmed(part) for part in split_tensor_dict(rollout, self.args.steps_per_generation)
            ]
        self._beat("training")
        return self._buffered_inputs[within % self.args.steps_per_generation]

    def _tokens(self, mask: Tensor) -> Tensor:
        """(N,) for each completion of this rank, the tokens of its mini-batch over all ranks."""
        steps = self.config.prompts // self.config.mini_batch
        sums = self.accelerator.reduce(mask.view(steps, -1).sum(dim=1).float(), reduction="sum")
        return sums.repeat_interleave(len(mask) // steps)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        # verl's loss instead of TRL's, which has no bounds on the logarithms.
        mask = inputs["completion_mask"]
        policy, entropies, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], mask], dim=1),
            logits_to_keep=mask.shape[1],
            compute_entropy=True,
        )
        old = inputs.get("old_per_token_logps")
        old = policy.detach() if old is None else old  # the first and only step on this rollout
        reference = inputs.get("ref_per_token_logps")
        found = policy_loss.token_loss(policy, old, reference, inputs["advantages"], self.config)
        mean = partial(
            policy_loss.average,
            mask=mask,
            config=self.config,
            tokens=inputs["tokens"][0],
            completions=self.config.mini_batch * self.config.completions,
        )
        loss = mean(found.loss)
        if self.config.entropy_coefficient:
            loss = loss - self.config.entropy_coefficient * mean(entropies)
        self._note(mask, entropies, found, old, inputs.get("sampling_per_token_logps"))
        return loss * self.accelerator.num_processes  # gradients are averaged over the ranks

    @torch.no_grad()
    def _note(
        self, mask: Tensor, entropies: Tensor, found: policy_loss.TokenLoss, old: Tensor, sampled: Tensor | None
    ) -> None:
        """Sum up what is logged of this micro-batch."""
        sums = {
            "tokens": mask.sum(),
            "entropy": (entropies * mask).sum(),
            "clip_share": (found.clipped * mask).sum(),
            "dual_clip_share": (found.dual_clipped * mask).sum(),
        }
        if found.kl is not None:
            sums["kl"] = (found.kl * mask).sum()
        if sampled is not None:
            # The policy of the rollout as the trainer has it, against what the engine sampled from.
            known = mask.bool() & sampled.isfinite()
            difference = (old - sampled).abs()[known]
            sums |= {"sampling_mismatch": difference.sum(), "sampled": known.sum()}
            self._largest = torch.maximum(self._largest, difference.max() if len(difference) else self._largest)
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._sums:
            names = sorted(self._sums)
            totals = self.accelerator.reduce(torch.stack([self._sums[name] for name in names]), reduction="sum")
            sums = dict(zip(names, totals.tolist(), strict=True))
            logs |= {name: sums[name] / max(sums[by], 1.0) for name, by in _MEANS.items() if name in sums}
            if "sampled" in sums:
                logs["sampling_mismatch_max"] = self.accelerator.gather(self._largest).max().item()
            self._sums = {}
            self._largest = torch.zeros_like(self._largest)
            logs["skipped"] = float(self.skipped > 0)
        super().log(logs, start_time)

    def _clip_grad_norm(self, model: Any) -> Any:
        # verl skips an update whose gradient is not finite; the trainer would put it into weights and moments.
        norm = super()._clip_grad_norm(model)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if bool(torch.isfinite(whole)):
            self.skipped = 0
        else:
            self.skipped += 1
            for parameter in model.parameters():
                parameter.grad = None
            self._tr_loss.zero_()  # it would stay what it is in all losses that are logged from now on
        return norm


def trimmed(part: dict[str, Any]) -> dict[str, Any]:
    """A micro-batch without the padding that its own longest prompt and completion do not need."""
    prompt = int(part["prompt_mask"].sum(dim=1).max())
    completion = int(part["completion_mask"].sum(dim=1).max())
    short = {name: part[name][:, -prompt:] for name in ("prompt_ids", "prompt_mask")}
    short |= {name: part[name][:, :completion] for name in _BY_TOKEN if part.get(name) is not None}
    return part | short
