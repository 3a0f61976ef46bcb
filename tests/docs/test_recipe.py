"""The recipe is the paper's, every value of it says where it comes from, and docs/RECIPE.md is what conf/ says."""

from __future__ import annotations

from typing import Any

import pytest

from docs import recipe, source_lines
from docs.source_lines import Fixed, OfKey
from stages import contract

#: The stages whose every field is a choice of the recipe.
STAGES = ("sft", "attribute", "rejuvenate", "grpo", "evaluate")

#: What the paper says in numbers: appendix B, section 4.3 and tables 5 and 6, written down from the paper itself.
PAPER = {
    "sft.samples": 100_000,
    "sft.adam_beta1": 0.9,
    "sft.adam_beta2": 0.999,
    "sft.learning_rate": 3.0e-6,
    "sft.schedule": "constant",
    "sft.weight_decay": 0.0,
    "grpo.prompts": 512,
    "grpo.mini_batch": 128,
    "grpo.completions": 8,
    "grpo.temperature": 1.0,
    "grpo.top_p": 1.0,
    "grpo.max_prompt": 512,
    "grpo.max_new_tokens": 1024,
    "grpo.learning_rate": 1e-6,
    "grpo.schedule": "constant",
    "grpo.gradient_clip": 1.0,
    "grpo.clip_low": 0.2,
    "grpo.clip_high": 0.2,
    "grpo.beta": 0.001,
    "grpo.aggregation": "seq-mean-token-mean",
    "grpo.validate_every": 50,
    "grpo.validation_temperature": 0.6,
    "grpo.validation_top_p": 1.0,
    "grpo.engine": "vllm",
    "evaluate.engine": "vllm",
    "evaluate.temperature": 0.6,
    "evaluate.top_p": 1.0,
    "rejuvenate.alpha": 0.5,
    "rejuvenate.rho": 0.01,
    **{f"benchmark.{name}.evaluate.k": 32 for name in ("amc23", "aime24", "aime25")},
    **{f"benchmark.{name}.evaluate.k": 4 for name in ("math500", "minerva", "olympiad", "gpqa_official", "arc_chat")},
    "benchmark.gsm8k.evaluate.k": 2,
}

#: What verl's defaults decide where the paper is silent, written down from verl's own config (at b178a3c).
VERL = {
    "grpo.passes": 1,
    "grpo.advantage_std": True,
    "grpo.kl_estimator": "low_var_kl",
    "grpo.entropy_coefficient": 0.0,
    "grpo.dual_clip": 3.0,
    "grpo.dynamic_sampling": False,
    "grpo.weight_decay": 0.01,
    "grpo.adam_beta1": 0.9,
    "grpo.adam_beta2": 0.999,
    "grpo.engine_dtype": "bfloat16",
    "grpo.dtype": "float32",
    "grpo.compute_dtype": "bfloat16",
    "grpo.validation_samples": 1,
}


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return recipe.composed("+experiment=evolm_math")


@pytest.fixture(scope="module")
def lines() -> dict[str, OfKey | Fixed]:
    """All source lines, by the key of the composed config, or by what they are about."""
    found: dict[str, OfKey | Fixed] = {}
    clusters = recipe.Place(recipe.CONF / "cluster" / "slurm.yaml", "cluster")
    variants = [recipe.Place(recipe.CONF / "experiment" / f"{name}.yaml", name) for name in recipe.EXPERIMENTS]
    for place in [*recipe.places(), clusters, *variants]:
        for line in source_lines.read(place.file):
            own = (line.what,) if isinstance(line, Fixed) else line.key
            found[".".join(filter(None, (place.key, *own)))] = line
    return found


@pytest.mark.parametrize(("key", "value"), [*PAPER.items(), *VERL.items()], ids=lambda each: str(each))
def test_a_value_is_the_papers_or_verls(composed: dict[str, Any], key: str, value: object) -> None:
    found: Any = composed
    for name in key.split("."):
        found = found[name]
    assert (found, type(found)) == (value, type(value))


def test_every_field_of_every_stage_says_where_it_comes_from(
    composed: dict[str, Any], lines: dict[str, OfKey | Fixed]
) -> None:
    wanted = {
        key
        for stage in STAGES
        for field in contract.load(stage).Config.__dataclass_fields__
        for key in _keys(composed, stage, field)
    }
    missing = sorted(wanted - lines.keys())
    assert not missing, (
        f"no source line for {', '.join(missing)}: put `# the paper | a tool's key, and its default | what differs` "
        "behind its value in conf/ (docs/source_lines.py), then run `make recipe`"
    )


def _keys(composed: dict[str, Any], stage: str, field: str) -> set[str]:
    """Where a field is said: in the stage's group, or, of an evaluation, by each benchmark."""
    if field in composed[stage]:
        return {f"{stage}.{field}"}
    assert stage == "evaluate", f"conf/ does not say {stage}.{field}"
    return {f"benchmark.{name}.evaluate.{field}" for name in composed["benchmark"]}


@pytest.mark.parametrize("name", recipe.EXPERIMENTS)
def test_every_variant_says_which_row_of_the_paper_it_is(name: str, lines: dict[str, OfKey | Fixed]) -> None:
    variants = {f"{name}.variants.{variant}" for variant in recipe.composed(f"+experiment={name}")["variants"]}
    assert variants <= lines.keys()


def test_what_nobody_else_decides_is_marked_as_ours(lines: dict[str, OfKey | Fixed]) -> None:
    unsaid = {key for key, line in lines.items() if line.paper.startswith("silent") and not line.tool}
    assert unsaid and not [key for key in unsaid if not lines[key].remark.startswith("ours")]


def test_what_no_key_says_is_where_the_line_says(lines: dict[str, OfKey | Fixed]) -> None:
    for line in lines.values():
        if isinstance(line, Fixed):
            file, _, name = line.here.partition(": ")
            assert (recipe.ROOT / file).is_file(), f"{line.what}: no file {file!r}"
            assert name in (recipe.ROOT / file).read_text(), f"{line.what}: {name!r} is not in {file}"


def test_the_page_is_what_conf_says() -> None:
    assert recipe.PAGE.read_text() == recipe.page(), "docs/RECIPE.md is stale: run `make recipe`, and look at the diff"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-6, "1e-6"),
        (0.5, "0.5"),
        (None, "null"),
        (True, "true"),
        ([1, {"a": "b"}], "[1, {a: b}]"),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_a_value_is_shown_as_yaml_has_it(value: object, text: str) -> None:
    assert recipe.shown(value) == text
