"""Templates of prompts."""

import pytest

from stages import problems, prompts
from stages.contract import StageError

PROBLEM = problems.Problem(id="7", gold="A", fields={"question": "Why {{ not }}?", "category": "physics"})


def test_a_question_is_text_whatever_it_holds() -> None:
    assert prompts.render("Q: {{ question }}\n", PROBLEM) == "Q: Why {{ not }}?\n"


def test_what_is_wrong_with_a_template_is_known_without_a_problem() -> None:
    assert prompts.errors("{{ question }}") == []
    assert prompts.errors("{% set question %}{{ problem.question }}!{% endset %}{{ question }}") == []
    [message] = prompts.errors("What?")
    assert message == "'What?' does not name {{ question }}: all prompts would be equal"
    [message] = prompts.errors("{{ question }")
    assert message.startswith("'{{ question }', line 1: unexpected '}'")


def test_a_field_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(StageError, match="for problem 7: 'context' is undefined; it has question, category"):
        prompts.render("{{ context }} {{ question }}", PROBLEM)


def test_worked_examples_are_the_first_of_the_category() -> None:
    examples = [{"question": f"{number}", "category": "physics" if number % 2 else "law"} for number in range(6)]
    assert [shot["question"] for shot in prompts.shots_of(PROBLEM, examples, 2)] == ["1", "3"]
    with pytest.raises(StageError, match="shots: 4 asked for, but there are 3 examples of the category 'physics'"):
        prompts.shots_of(PROBLEM, examples, 4)


def test_a_prompt_goes_through_lists_and_writes_texts_alone() -> None:
    fields = problems.with_letters({"question": "Which?", "choices": ["one", "two"], "options": "['one', 'two']"})
    problem = problems.Problem(id="7", gold="A", fields=fields)
    assert (
        prompts.render("{% for x in choices %}{{ letters[loop.index0] }} {{ x }} {% endfor %}", problem)
        == "A one B two "
    )
    assert prompts.render("{{ letters | join('/') }}{% for x in letters %}{{ x }}{% endfor %}", problem) == "A/BAB"
    for template in ("{{ choices }}", "{{ problem }}", "{% for x in options %}{{ x }}{% endfor %}"):
        with pytest.raises(StageError, match="for problem 7: "):
            prompts.render(template, problem)
    shots = [{"question": "a", "options": "ab"}]
    with pytest.raises(StageError, match="a text, not a list of texts"):
        prompts.render("{{ shots[0].options | join }}", problem, shots)
