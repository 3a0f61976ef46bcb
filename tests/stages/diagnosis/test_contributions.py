"""Rankings and concentration of an attribution that is small enough to add up by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stages.contract import StageError
from stages.diagnosis import contributions
from tests import tiny_models
from tests.stages.diagnosis.handmade import DOWN, Q, attributed

#: Two targets over q_proj (4 neurons) and down_proj (6 neurons): all positive scores, and the sums of all scores.
SCORES = [{(Q, 1): 6.0, (DOWN, 0): 2.0, (DOWN, 5): 1.0}, {(Q, 1): 4.0, (Q, 0): 3.0}]
SUMS = [{Q: (6.0, -2.0), DOWN: (4.0, 0.0)}, {Q: (7.0, 0.0), DOWN: (1.0, -5.0)}]


def written(folder: Path, **options: Any) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The rows of every file, and the summary."""
    source = attributed(folder, options.pop("scores", SCORES), SUMS, samples=[0, 0], y=[7, 7], **options)
    output = folder / "diagnosis"
    output.mkdir()
    summary = contributions.write(source, output, 0.1, 3, tiny_models.tokenizer())
    return {file.stem: pq.read_table(file).to_pylist() for file in output.glob("*.parquet")}, summary


def test_modules_are_ranked_by_mean_positive_contribution(tmp_path: Path) -> None:
    rows = written(tmp_path)[0]["attribution_modules"]
    assert [(row["rank"], row["module"], row["positive"], row["negative"]) for row in rows] == [
        (1, Q, 6.5, -1.0),
        (2, DOWN, 2.5, -2.5),
    ]
    assert (rows[1]["layer"], rows[1]["kind"], rows[1]["neurons"]) == (0, "down_proj", 6)


def test_neurons_are_ranked_by_mean_score_and_count_as_zero_where_they_are_not_kept(tmp_path: Path) -> None:
    rows = written(tmp_path)[0]["attribution_neurons"]
    assert [(row["rank"], row["module"], row["index"], row["score"], row["targets"]) for row in rows] == [
        (1, Q, 1, 5.0, 2),
        (2, Q, 0, 1.5, 1),
        (3, DOWN, 0, 1.0, 1),
    ]


def test_the_best_neurons_hold_a_share_of_everything_positive(tmp_path: Path) -> None:
    found, summary = written(tmp_path, keep=0.3)
    rows = {row["share"]: row for row in found["concentration"]}
    # one neuron: 6 of 10 and 4 of 8; three neurons, all that is kept: 9 of 10 and 7 of 8
    assert min(rows) == 0.1 and max(rows) == 0.3
    assert rows[0.1]["held"] == pytest.approx((0.6 + 0.5) / 2) == summary["contribution_held_at_rho"]
    assert rows[0.1]["held_q50"] == pytest.approx(0.55)
    assert rows[0.3]["held"] == pytest.approx((0.9 + 0.875) / 2)
    assert [row["held"] for row in found["concentration"]] == sorted(row["held"] for row in found["concentration"])


def test_a_ranking_by_module_takes_the_best_of_each(tmp_path: Path) -> None:
    found, _ = written(tmp_path, keep=0.5, ranking="module")
    rows = {row["share"]: row for row in found["concentration"]}
    # one of each module: 6 + 2 of 10 and 4 of 8; half of each: all 9 of 10 and 7 of 8
    assert rows[0.1]["held"] == pytest.approx((0.8 + 0.5) / 2)
    assert rows[0.5]["held"] == pytest.approx((0.9 + 0.875) / 2)


def test_magnitudes_count_where_sign_is_absolute(tmp_path: Path) -> None:
    scores = [{(DOWN, 2): -8.0, (Q, 1): 6.0}, {(DOWN, 2): 4.0}]
    found, _ = written(tmp_path, scores=scores, keep=0.2, sign="absolute")
    first, second = found["attribution_neurons"]
    assert (first["index"], first["score"], first["magnitude"]) == (2, -2.0, 6.0)
    assert (second["index"], second["score"], second["magnitude"]) == (1, 3.0, 3.0)
    assert found["concentration"][0]["held"] == pytest.approx((8 / 12 + 4 / 13) / 2)


def test_kinds_that_took_no_part_are_no_module_of_the_ranking(tmp_path: Path) -> None:
    source = attributed(tmp_path, [{(Q, 1): 6.0}], [{Q: (6.0, 0.0)}], samples=[0], kinds=["q_proj"])
    assert source.neurons == 4
    contributions.write(source, tmp_path, 0.1, 3, tiny_models.tokenizer())
    assert [row["module"] for row in pq.read_table(tmp_path / "attribution_modules.parquet").to_pylist()] == [Q]


def test_target_tokens_are_counted(tmp_path: Path) -> None:
    tokenizer = tiny_models.tokenizer()
    source = attributed(tmp_path, SCORES * 2, SUMS * 2, samples=[0, 0, 0, 0], y=[9, 30, 30, 5])
    contributions.write(source, tmp_path, 0.1, 3, tokenizer)
    rows = pq.read_table(tmp_path / "target_tokens.parquet").to_pylist()
    assert [(row["token"], row["count"]) for row in rows] == [(30, 2), (5, 1), (9, 1)]
    assert rows[0]["text"] == tokenizer.decode([30])


@pytest.mark.parametrize(("keep", "rho"), [(0.1, 0.01), (1.0, 1.0), (0.1, 0.1), (1e-4, 1e-5)])
def test_the_curve_runs_from_one_neuron_to_keep_and_passes_rho(keep: float, rho: float) -> None:
    shares = contributions.curve(10_000, keep, rho)
    assert shares == sorted(set(shares)) and shares[-1] == keep and rho in shares
    assert shares[0] == min(1e-4, rho)


def test_nothing_positive_at_all_gives_empty_tables(tmp_path: Path) -> None:
    source = attributed(tmp_path, [{}], [{Q: (0.0, -1.0), DOWN: (0.0, 0.0)}], samples=[0])
    summary = contributions.write(source, tmp_path, 0.1, 3, tiny_models.tokenizer())
    assert summary["contribution_held_at_rho"] is None
    assert pq.read_table(tmp_path / "concentration.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "attribution_neurons.parquet").num_rows == 0


def test_a_module_that_the_model_lacks_is_refused(tmp_path: Path) -> None:
    sums = [{"model.layers.9.mlp.up_proj": (1.0, 0.0)}]
    source = attributed(tmp_path, [{(Q, 1): 1.0}], sums, samples=[0])
    with pytest.raises(StageError, match=r"its model\.layers\.9\.mlp\.up_proj does not exist in the checkpoint"):
        contributions.write(source, tmp_path, 0.1, 3, tiny_models.tokenizer())


def test_a_module_that_is_larger_than_the_models_is_refused(tmp_path: Path) -> None:
    source = attributed(tmp_path, [{(Q, 4): 1.0}], [{Q: (1.0, 0.0)}], samples=[0])
    with pytest.raises(StageError, match=rf"its {Q} is larger than that of the checkpoint"):
        contributions.write(source, tmp_path, 0.1, 3, tiny_models.tokenizer())
