"""The config of the stage `grpo`."""

from typing import Any

import pytest
from pydantic import ValidationError

from stages import grpo
from stages.contract import Resources

PLAIN: dict[str, Any] = {
    "rollouts": 4,
    "prompts": 4,
    "completions": 4,
    "mini_batch": 2,
    "passes": 1,
    "aggregation": "seq-mean-token-mean",
    "advantage_std": True,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "beta": 0.001,
    "kl_estimator": "low_var_kl",
    "entropy_coefficient": 0.0,
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dual_clip": 3.0,
    "dynamic_sampling": False,
    "max_draws": 10,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_prompt": 32,
    "max_new_tokens": 8,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "gradient_clip": 1.0,
    "seed": 0,
    "rollout_seeds": "each",
    "engine": "transformers",
    "engine_dtype": "float32",
    "dtype": "float32",
    "compute_dtype": "float32",
    "validate_every": 2,
    "validation_temperature": 0.6,
    "validation_top_p": 1.0,
    "validation_problems": 4,
    "validation_samples": 1,
    "distances": ["start"],
}


def config(**chosen: Any) -> grpo.Config:
    return grpo.Config(**{**PLAIN, **chosen})


def test_no_scientific_choice_has_a_default() -> None:
    for name in PLAIN:
        with pytest.raises(ValidationError):
            grpo.Config(**{key: value for key, value in PLAIN.items() if key != name})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"mini_batch": 3}, "mini_batch: 3 does not divide prompts=4; [1, 2, 4] do"),
        ({"validation_problems": 0}, "validation_problems: 0, but validate_every is 2; hold some out, or set 0"),
        ({"dual_clip": 1.1}, "dual_clip: 1.1 is not above 1 + clip_high = 1.2"),
        ({"dtype": "bfloat16"}, "compute_dtype: float32, but parameters of dtype bfloat16 compute in bfloat16"),
    ],
)
def test_what_the_types_cannot_say(chosen: dict[str, Any], message: str) -> None:
    assert grpo.check(config()) == []
    assert grpo.check(config(**chosen)) == [message]


@pytest.mark.parametrize("chosen", [{"completions": 1}, {"engine": "sglang"}, {"top_p": 0.0}, {"clip_low": 1.0}])
def test_values_out_of_range_are_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**chosen)


@pytest.mark.parametrize(
    ("chosen", "resources", "world", "message"),
    [
        ({}, {}, 4, "mini_batch=2: cannot be shared out equally over 4 devices; possible numbers of devices: 1, 2"),
        ({"mini_batch": 3, "prompts": 4, "dynamic_sampling": True}, {}, 3, "prompts=4: cannot be shared out equally"),
        ({}, {"rollouts": "server"}, 1, "engine=transformers: has no rollout server; set engine=vllm, or rollouts="),
        ({}, {"sharding": "fsdp2"}, 2, "engine=transformers: cannot generate with a policy that is cut; set engine="),
    ],
)
def test_what_does_not_fit_so_many_processes(
    chosen: dict[str, Any], resources: dict[str, Any], world: int, message: str
) -> None:
    assert grpo.fits(config(), Resources(), 2) == []
    (found,) = grpo.fits(config(**chosen), Resources(**resources), world)
    assert found.startswith(message)
