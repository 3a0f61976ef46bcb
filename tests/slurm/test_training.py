"""Real training on the real cluster: SFT in several ranks that are stopped, GRPO with rollouts from another machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_models
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy
from tests.stages.test_grpo import config
from tests.stages.test_sft import CONFIG

pytestmark = [pytest.mark.usefixtures("toys"), pytest.mark.slow]

#: With two steps each: long enough to be stopped on the way.
EPOCHS = 200


def study(folder: Path) -> dict[str, Any]:
    """One SFT of a tiny model on nine rows."""
    fields = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
    recipe = {name: value for name, value in asdict(CONFIG).items() if name != "epochs"}
    demonstrations = {"path": str(folder / "rows.jsonl"), "fields": fields}
    return {"outside": {"base": str(folder / "base"), "demonstrations": demonstrations, "sft": recipe}}


def curve(toy: Toy) -> list[dict[str, float]]:
    """The metrics of every step."""
    text = (toy.entry("sft").path / "training.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_two_ranks_that_are_stopped_have_the_curve_of_one(slurm: Cluster, tmp_path: Path) -> None:
    tiny_models.base(tmp_path / "base")
    tiny_models.calibration(tmp_path / "rows.jsonl", rows=9)
    chain = {"A": [{"sft": {"epochs": EPOCHS}}]}
    one, two = (
        Toy(
            slurm,
            tmp_path / f"{ranks}",
            chain,
            study=study(tmp_path),
            processes=ranks,
            per_device_batch=4 // ranks,
            memory=3.5,
        )
        for ranks in (1, 2)
    )
    two.run()
    two.wait_until(lambda: two.progress("sft") > 0, seconds=120)
    slurm.run("scancel", "--signal=USR2", two.job("sft"))
    two.wait_for("sft", "done", "failed", seconds=180)
    assert one.run("--wait") == 0
    assert (one.record("sft")["attempts"], two.record("sft")["attempts"]) == (1, 2), two.log("sft")
    assert one.record("sft")["fingerprint"] == two.record("sft")["fingerprint"]
    assert len(curve(one)) == len(curve(two)) == 2 * EPOCHS
    for ours, theirs in zip(curve(one), curve(two), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_grpo_is_served_by_a_machine_of_its_job(slurm: Cluster, tmp_path: Path) -> None:
    """One machine trains, one has the engine; the curve is that of an engine in the training process."""
    tiny_models.base(tmp_path / "base", hidden_size=128, intermediate_size=96)
    rows = [{"prompt": row["prompt"], "answer": "7"} for row in tiny_models.arithmetic(16)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = {
        "path": str(tmp_path / "problems.jsonl"),
        "fields": {"prompt": "{{ prompt }}", "answer": "{{ answer }}"},
    }
    recipe = asdict(config(engine="vllm", rollouts=2, validate_every=0))
    outside = {"outside": {"base": str(tmp_path / "base"), "problems": problems, "grpo": recipe}}
    chain: dict[str, list[Any]] = {"A": ["grpo"]}
    away, here = (
        Toy(slurm, tmp_path / name, chain, study=outside, processes=1, per_device_batch=4, memory=3.9, **resources)
        for name, resources in (
            ("away", {"nodes": 2, "rollout_nodes": 1, "rollouts": "server"}),
            ("here", {}),
        )
    )
    assert away.run("--wait") == 0, away.log("grpo")
    assert here.run("--wait") == 0, here.log("grpo")
    left, right = (
        [json.loads(line) for line in (toy.entry("grpo").path / "training.jsonl").read_text().splitlines()]
        for toy in (away, here)
    )
    for one, other in zip(left, right, strict=True):
        assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-3, abs=1e-5)
