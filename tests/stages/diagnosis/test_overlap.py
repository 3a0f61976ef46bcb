"""Reset sets of samples: by hand, against Python's sets, and against random sets that are really drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.diagnosis import overlap
from stages.rejuvenation.architecture import Module
from tests.stages.diagnosis.handmade import DOWN, MODULES, Q, attributed

#: Sample 3 selects q1, d0, d5 in two targets, sample 4 q1 and q0, sample 8 nothing: it has no target of any score.
SCORES = [{(Q, 1): 6.0, (DOWN, 0): 2.0}, {(DOWN, 5): 9.0, (DOWN, 0): 8.0}, {(Q, 1): 4.0, (Q, 0): 3.0}, {}]
SAMPLES = [3, 3, 4, 8]


def test_resets_and_overlaps_that_can_be_counted(tmp_path: Path) -> None:
    summary = overlap.write(attributed(tmp_path, SCORES, [], samples=SAMPLES), tmp_path, 0.2)
    resets = pq.read_table(tmp_path / "resets.parquet").to_pylist()
    assert [(row["module"], row["neurons"], row["selected"], row["ratio"]) for row in resets] == [
        (Q, 4, 2, 0.5),
        (DOWN, 6, 2, pytest.approx(1 / 3)),
    ]
    first, *others = pq.read_table(tmp_path / "overlaps.parquet").to_pylist()
    assert (first["sample_a"], first["sample_b"], first["size_a"], first["size_b"]) == (3, 4, 3, 2)
    assert (first["intersection"], first["jaccard"]) == (1, 0.25)
    # q_proj: 1 and 2 of 4 give 1/2, with variance 1*2*3*2/(16*3) = 1/4; down_proj: 2 and 0 of 6 give 0
    assert first["intersection_chance"] == pytest.approx(0.5)
    assert first["jaccard_chance"] == pytest.approx(0.5 / 4.5 + 5 * 0.25 / 4.5**3)
    assert [(row["sample_a"], row["sample_b"], row["jaccard"]) for row in others] == [(3, 8, 0.0), (4, 8, 0.0)]
    assert summary["reset_neurons"] == 4 and summary["reset_ratio"] == 0.4
    assert summary["overlap_jaccard"] == pytest.approx(0.25 / 3)
    assert summary["overlap_jaccard_chance"] == pytest.approx((0.5 / 4.5 + 5 * 0.25 / 4.5**3) / 3)


def test_rho_takes_fewer(tmp_path: Path) -> None:
    assert overlap.write(attributed(tmp_path, SCORES, [], samples=SAMPLES), tmp_path, 0.1)["reset_neurons"] == 2


def test_two_empty_sets_have_no_jaccard_index(tmp_path: Path) -> None:
    summary = overlap.write(attributed(tmp_path, [{}, {}], [], samples=[0, 1]), tmp_path, 0.2)
    (row,) = pq.read_table(tmp_path / "overlaps.parquet").to_pylist()
    assert row["jaccard"] is None and row["jaccard_chance"] is None and row["intersection_chance"] == 0
    assert summary["overlap_jaccard"] is None
    json.dumps(summary)


def test_one_sample_has_no_pair(tmp_path: Path) -> None:
    summary = overlap.write(attributed(tmp_path, SCORES[:1], [], samples=[0]), tmp_path, 0.2)
    assert pq.read_table(tmp_path / "overlaps.parquet").num_rows == 0
    assert summary["overlap_jaccard"] is None and summary["reset_neurons"] == 2


def test_bits_are_sets(tmp_path: Path) -> None:
    """Modules whose sizes are no multiple of eight, many samples."""
    draw = np.random.default_rng(0)
    modules = [Module(Q, 0, "q_proj", 13), Module(DOWN, 0, "down_proj", 50)]
    sets = [
        {(m.name, int(i)) for m in modules for i in draw.choice(m.neurons, m.neurons // 3, False)} for _ in range(9)
    ]
    scores = [dict.fromkeys(sorted(chosen), 1.0) for chosen in sets]
    overlap.write(attributed(tmp_path, scores, [], samples=list(range(9)), modules=modules), tmp_path, 1.0)
    rows = pq.read_table(tmp_path / "overlaps.parquet").to_pylist()
    assert [(row["sample_a"], row["sample_b"]) for row in rows] == [(a, b) for a in range(9) for b in range(a + 1, 9)]
    for row in rows:
        a, b = sets[row["sample_a"]], sets[row["sample_b"]]
        assert row["intersection"] == len(a & b)
        assert row["jaccard"] == pytest.approx(len(a & b) / len(a | b))
    for row in pq.read_table(tmp_path / "resets.parquet").to_pylist():
        assert row["selected"] == len({place for place in set.union(*sets) if place[0] == row["module"]})


@pytest.mark.parametrize(("a", "b"), [([3, 20], [5, 12]), ([13, 1], [2, 49]), ([0, 30], [13, 30])])
def test_chance_is_what_random_sets_have_in_common(a: list[int], b: list[int]) -> None:
    draw, sizes = np.random.default_rng(1), [13, 50]

    def random(counts: list[int]) -> np.ndarray:
        return np.concatenate([draw.permutation(np.arange(n) < k) for n, k in zip(sizes, counts, strict=True)])

    pairs = [(random(a), random(b)) for _ in range(4000)]
    mean, jaccard = overlap.chance(np.array(a), np.array([b]), np.array(sizes))
    assert np.mean([(x & y).sum() for x, y in pairs]) == pytest.approx(mean[0], abs=0.15)
    assert np.mean([(x & y).sum() / (x | y).sum() for x, y in pairs]) == pytest.approx(jaccard[0], abs=0.005)


def test_sets_that_cannot_differ_have_the_jaccard_index_of_chance_1() -> None:
    sizes = np.array([module.neurons for module in MODULES])
    assert overlap.chance(sizes, sizes[None], sizes)[1].tolist() == [1.0]
