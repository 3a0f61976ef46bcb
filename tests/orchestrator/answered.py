"""A toy study whose evaluations have generations: what a model is said to have written, graded as a test says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestrator.graph import Node
from stages.evaluation import files, statistics
from stages.evaluation.kept import Answer
from stages.evaluation.statistics import Sample
from stages.grading.pool import Grade
from stages.problems import Problem
from tests.orchestrator.published import Published


class Answered(Published):
    """The study, and what has been published of it."""

    def answer(self, variant: str, benchmark: str, answers: Mapping[str, Sequence[bool]], **texts: str) -> Node:
        """Publish an evaluation whose samples are right where it says so; returns its node.

        `texts`: `prompt` and `completion` of all of them, and `gold`.
        """
        node = self.graph.scores[variant, benchmark]
        problems = [Problem(id=id, gold=texts.get("gold", "1"), fields={"question": id}) for id in answers]
        samples = [
            [Sample(extracted="1" if right else "2", correct=right, truncated=False, tokens=3) for right in each]
            for each in answers.values()
        ]
        written = texts.get("completion", "{variant} says {said}")
        said = [
            [
                Answer(
                    text=written.replace("{variant}", variant).replace("{said}", "1" if right else "2"),
                    tokens=3,
                    finished=True,
                )
                for right in each
            ]
            for each in answers.values()
        ]
        grades = [
            [Grade(extracted="1" if right else "2", correct=right) for right in each] for each in answers.values()
        ]
        draft = self._draft()
        prompts = [texts.get("prompt", f"Question {id}?") for id in answers]
        files.write_generations(draft / "generations.parquet", problems, prompts, said, grades)
        files.write_problems(draft / "problems.parquet", problems, samples)
        (draft / "scores.json").write_text(json.dumps(statistics.scores(samples)))
        self._publish(node, draft)
        return node
