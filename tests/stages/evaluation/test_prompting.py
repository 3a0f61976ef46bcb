"""Prompts as token ids: worked examples are dropped until one fits, and nothing is ever cut."""

from typing import Any

import pytest

from stages import problems
from stages.contract import StageError
from stages.data.tokens import prompt_ids
from stages.evaluation.prompting import Prompt, prompts_of
from tests import tiny_models
from tests.stages.test_evaluate import config

TOKENIZER = tiny_models.tokenizer()
TEMPLATE = "{% for shot in shots %}{{ shot.question }} It is {{ shot.answer }}.\n{% endfor %}{{ question }}"
EXAMPLES = [{"question": f"Compute {n} + 1.", "answer": str(n + 1)} for n in range(3)]


def prompts(*questions: str, positions: int = 128, **chosen: Any) -> list[Prompt]:
    rows = [{"question": question, "answer": "1"} for question in questions]
    found = problems.read(rows, kind="math", expected=None, shuffle=None)
    given = config(template=TEMPLATE, max_new_tokens=10, **chosen)
    return prompts_of(found, EXAMPLES, given, TOKENIZER, positions)


def test_no_token_stands_before_a_prompt() -> None:
    [found] = prompts("Compute 1 + 1.")
    assert found == Prompt("Compute 1 + 1.", prompt_ids(TOKENIZER, "Compute 1 + 1."), 0)
    assert TOKENIZER.decode(found.ids) == "Compute 1 + 1."


def test_as_many_worked_examples_as_leave_room_for_an_answer() -> None:
    [all_three] = prompts("Compute 1 + 1.", shots=3)
    assert all_three.shots == 3
    limit = len(all_three.ids) + 10  # prompt + answer must stay below it
    assert prompts("Compute 1 + 1.", shots=3, positions=limit + 1) == [all_three]
    [two] = prompts("Compute 1 + 1.", shots=3, positions=limit)
    assert two.shots == 2
    assert two.text == "Compute 0 + 1. It is 1.\nCompute 1 + 1. It is 2.\nCompute 1 + 1."


def test_prompts_that_fit_without_room_for_a_whole_answer_are_asked_and_longer_ones_are_counted() -> None:
    length = len(prompts("Compute 1 + 1.")[0].ids)
    assert prompts("Compute 1 + 1.", shots=3, positions=length + 1)[0].shots == 0
    with pytest.raises(StageError, match=f"2 of 2 prompts do not fit .* {length} positions; .* problems 0, 1"):
        prompts("Compute 1 + 1.", "Compute 1 + 2.", shots=3, positions=length)
