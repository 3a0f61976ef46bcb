"""Stage `grpo`: reinforcement learning with verifiable rewards, by TRL's GRPOTrainer set to verl's formula.

The reward is +1 or -1 by the definition of correct that the benchmarks use; the reference policy is the checkpoint
that the stage starts from. Defaults of verl that the paper leaves unsaid are named at their field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages import batches
from stages.contract import Context, Resources, Seed

VERSION = 2
MAKES = ("checkpoint",)
DISTRIBUTED = True
SERVES = True
SAVES = True

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """GRPO (paper, appendix B "Mathematical RL Training Details"; verl's key in brackets).

    Attributes:
        rollouts: rollout batches, which verl calls steps [trainer.total_training_steps].
        prompts: problems per rollout batch [data.train_batch_size].
        completions: completions per problem [actor_rollout_ref.rollout.n].
        mini_batch: problems per optimizer step; divides `prompts` [actor.ppo_mini_batch_size].
        passes: over a rollout batch [actor.ppo_epochs].
        aggregation: of the loss of tokens: the mean over the tokens of a completion, then over completions; or the
            mean over the tokens of a mini-batch [actor.loss_agg_mode].
        advantage_std: whether a group's rewards are divided by their standard deviation, beside the mean that is taken
            off them [algorithm.norm_adv_by_std_in_grpo].
        learning_rate: of AdamW [actor.optim.lr].
        schedule: of the learning rate; constant has no warm-up and no decay [actor.optim.lr_scheduler_type].
        beta: coefficient of the KL term in the loss; 0 needs no reference [actor.kl_loss_coef].
        kl_estimator: low_var_kl is Schulman's k3, non-negative and unbiased [actor.kl_loss_type].
        entropy_coefficient: of the entropy bonus in the loss [actor.entropy_coeff].
        clip_low, clip_high: how far the probability ratio may leave 1 [actor.clip_ratio_low, clip_ratio_high].
        dual_clip: bound of the ratio where the advantage is negative, None for none [actor.clip_ratio_c, 3.0].
        dynamic_sampling: whether groups whose rewards are all equal are dropped, and further problems rolled out in
            their place (DAPO, arXiv 2503.14476) [algorithm.filter_groups.enable].
        max_draws: times that problems are drawn for a rollout batch at most [filter_groups.max_num_gen_batches].
        temperature, top_p: of the rollouts [rollout.temperature, rollout.top_p].
        max_prompt: tokens; problems with a longer prompt are left out and counted [data.max_prompt_length].
        max_new_tokens: tokens of a completion [data.max_response_length].
        weight_decay: of AdamW [actor.optim.weight_decay, 0.01].
        adam_beta1, adam_beta2: of AdamW [actor.optim.betas].
        gradient_clip: largest gradient norm [actor.grad_clip].
        seed: of the order of the problems, and of the rollouts.
        rollout_seeds: `each`: a completion depends on its prompt, the policy and the seed alone, on no batch, process
            or placement of the engine. `shared`: vLLM draws from one generator a process, which is faster on a GPU; a
            run that goes on repeats its rollouts only on as many processes, colocated.
        engine: what generates the rollouts.
        engine_dtype: what the vLLM engine computes in; transformers generation uses the trained model as it is.
        dtype: of the trained parameters.
        compute_dtype: of the forward and backward pass.
        validate_every: rollouts between two validations, which also run before the first and after the last;
            0 for none [trainer.test_freq].
        validation_temperature, validation_top_p: of the validation's samples [val_kwargs.temperature, top_p].
        validation_problems: the last rows of the data, held out: they are never trained on, validated or not.
        validation_samples: completions per held-out problem [val_kwargs.n].
        distances: models whose distance to the policy is measured at every step, on sampled rows of its matrices:
            `start` is the checkpoint of the start, `base` the experiment's base model.
    """

    rollouts: Count
    prompts: Count
    completions: Annotated[int, Field(ge=2)]
    mini_batch: Count
    passes: Count
    aggregation: Literal["seq-mean-token-mean", "token-mean"]
    advantage_std: bool
    learning_rate: Positive
    schedule: Literal["constant"]
    beta: NotNegative
    kl_estimator: Literal["low_var_kl"]
    entropy_coefficient: NotNegative
    clip_low: Annotated[float, Field(gt=0, lt=1)]
    clip_high: Positive
    dual_clip: Annotated[float, Field(gt=1)] | None
    dynamic_sampling: bool
    max_draws: Count
    temperature: Positive
    top_p: Share
    max_prompt: Count
    max_new_tokens: Count
    weight_decay: NotNegative
    adam_beta1: Beta
    adam_beta2: Beta
    gradient_clip: Positive
    seed: Seed
    rollout_seeds: Literal["each", "shared"]
    engine: Literal["vllm", "transformers"]
    engine_dtype: Literal["float32", "bfloat16"]
    dtype: Literal["float32", "bfloat16"]
    compute_dtype: Literal["float32", "bfloat16"]
    validate_every: Annotated[int, Field(ge=0)]
    validation_temperature: NotNegative
    validation_top_p: Share
    validation_problems: Annotated[int, Field(ge=0)]
    validation_samples: Count
    distances: list[Literal["start", "base"]]

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps on one rollout batch."""
        return self.prompts // self.mini_batch * self.passes


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint", "problems", *(("base",) if "base" in config.distances else ()))


def check(config: Config) -> list[str]:
    """What the types cannot say."""
    errors = []
    if config.prompts % config.mini_batch:
        divisors = [d for d in range(1, config.prompts + 1) if config.prompts % d == 0]
        errors.append(f"mini_batch: {config.mini_batch} does not divide prompts={config.prompts}; {divisors} do")
    if config.validate_every and not config.validation_problems:
        errors.append(f"validation_problems: 0, but validate_every is {config.validate_every}; hold some out, or set 0")
    if config.dual_clip is not None and config.dual_clip <= 1 + config.clip_high:
        errors.append(f"dual_clip: {config.dual_clip} is not above 1 + clip_high = {1 + config.clip_high}")
    if config.dtype == "bfloat16" and config.compute_dtype == "float32":
        errors.append("compute_dtype: float32, but parameters of dtype bfloat16 compute in bfloat16")
    if config.engine == "transformers" and config.rollout_seeds == "shared":
        errors.append("rollout_seeds: shared, but transformers draws every completion by itself; set each")
    return errors


def fits(config: Config, resources: Resources, world: int) -> list[str]:
    """What keeps this recipe from running in `world` processes, with these resources."""
    wrong = [batches.misfit("mini_batch", config.mini_batch, world)]  # a process has whole groups
    if config.dynamic_sampling:  # every process draws, drops and refills as many groups as the others
        wrong.append(batches.misfit("prompts", config.prompts, world))
    if config.engine == "transformers" and resources.rollouts == "server":
        wrong.append("engine=transformers: has no rollout server; set engine=vllm, or rollouts=colocate in the cluster")
    if config.engine == "transformers" and resources.sharding != "none" and world > 1:
        wrong.append(
            "engine=transformers: cannot generate with a policy that is cut; set engine=vllm, or sharding=none"
        )
    return [message for message in wrong if message is not None]


def serve(config: Config, context: Context) -> None:
    """Serve rollouts to the machines that train, on one that does not."""
    from stages.training import rollouts_served

    rollouts_served.serve(config, context)


def run(config: Config, context: Context) -> dict[str, Any]:
    from stages.generation import vllm_environment

    vllm_environment.prepare()  # trl imports vllm where it is installed
    if context.world == 1:
        vllm_environment.stay_here()
    from stages.training import grpo

    return grpo.train(config, context)
