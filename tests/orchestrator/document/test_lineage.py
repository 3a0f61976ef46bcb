"""The graph as boxes."""

from __future__ import annotations

from pathlib import Path

from orchestrator import plan
from orchestrator.document import lineage
from orchestrator.document.artifacts import Artifacts
from orchestrator.document.material import Material
from orchestrator.document.rows import Rows
from tests.orchestrator.document.synthetic import Synthetic


def material(made: Synthetic) -> Material:
    return Material(
        study=made.study,
        artifacts=Artifacts(made.study),
        rows=Rows(made.study),
        results=made.results(),
        entries=plan.make(made.study.graph, made.store),
        again=made.overrides,
    )


def test_evaluations_stand_in_the_box_of_their_checkpoint(tmp_path: Path) -> None:
    made = Synthetic(tmp_path / "store")
    made.publish(node for node in made.nodes if node.stage == "pretrain" or node.label == "OverSFT.tiny_sums")
    boxes = {(box.stage, box.label): box for box in lineage.boxes(material(made))}
    assert {stage for stage, _ in boxes} == {"pretrain", "sft", "attribute", "rejuvenate", "grpo"}
    assert boxes["sft", "OverSFT"].inside == {"evaluations": (1, 4), "diagnoses": (0, 1)}
    assert boxes["pretrain", "base"].state == "done" and boxes["sft", "OverSFT"].state == "run"
    assert boxes["rejuvenate", "Rejuvenation"].parent == boxes["attribute", "Rejuvenation"].key


def test_a_parent_is_left_of_its_children_and_no_two_boxes_share_a_place(tmp_path: Path) -> None:
    boxes = lineage.boxes(material(Synthetic(tmp_path / "store")))
    depths, places = lineage.depths(boxes), lineage.places(boxes)
    assert all(depths[box.parent] == depths[box.key] - 1 for box in boxes if box.parent is not None)
    assert len({(depths[box.key], places[box.key]) for box in boxes}) == len(boxes)
