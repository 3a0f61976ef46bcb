"""Every benchmark reads rows with the columns of its data set, the odd ones too, and asks what its authors ask."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, experiment
from stages import problems, prompts, rows
from stages.contract import Input
from stages.problems import Problem

ROWS = Path(__file__).parent / "fixtures" / "benchmarks"

#: Benchmark -> the file with rows of its data set.
FILES = {
    **{name: name for name in ("gsm8k", "math500", "amc23", "minerva", "olympiad", "aime24", "aime25")},
    **{"gpqa": "gpqa", "gpqa_official": "gpqa", "arc": "arc", "arc_chat": "arc"},
    **{"mmlu_pro": "mmlu_pro", "mmlu_pro_5shot": "mmlu_pro"},
}


@pytest.fixture(scope="module")
def study() -> experiment.Experiment:
    return experiment.read(composed(f"benchmark=[{','.join(FILES)}]"), {})


def composed(*overrides: str) -> dict[str, Any]:
    found = config.compose(["+experiment=evolm_math", *overrides])
    assert not found.errors
    return found.config


def read(study: experiment.Experiment, name: str) -> list[Problem]:
    benchmark = study.benchmarks[name]
    found = rows.load(source(benchmark.data.fields, FILES[name]))
    shuffle = benchmark.evaluate.get("shuffle_choices")
    return problems.read(found, kind=benchmark.evaluate["kind"], expected=None, shuffle=shuffle)


def source(fields: dict[str, str], name: str) -> Input:
    return Input(fingerprint="b", path=ROWS / f"{name}.jsonl", reading={"fields": fields})


@pytest.mark.parametrize(
    ("name", "golds"),
    [
        ("gsm8k", ["1234", "-1"]),
        ("math500", [r"\frac{3}{4}", r"\left( 3, \frac{\pi}{2} \right)"]),
        ("amc23", ["7", "27.0"]),
        ("minerva", ["3e8", "2 x"]),
        ("olympiad", ["-2, 2", "2", "3, 4"]),
        ("aime24", ["033", "204"]),
        ("aime25", ["033", "204"]),
        ("arc", ["A", "B", "B", "E"]),
        ("mmlu_pro", ["B", "J"]),
    ],
)
def test_the_gold_answers(study: experiment.Experiment, name: str, golds: list[str]) -> None:
    assert [problem.gold for problem in read(study, name)] == golds


def test_a_context_comes_before_its_question(study: experiment.Experiment) -> None:
    assert [problem.question for problem in read(study, "olympiad")][:2] == [
        "Find all real $x$ with $x^2=4$.",
        "Let $f(x)=x+1$.\n\nFind $f(1)$.",
    ]


def test_choices_are_as_many_as_the_row_has(study: experiment.Experiment) -> None:
    assert [len(problem.choices or []) for problem in read(study, "arc")] == [4, 4, 3, 5]
    assert [problem.choices for problem in read(study, "mmlu_pro")][0] == ["4+5", "5+5"]  # N/A is no choice


def test_gpqa_is_shuffled_and_the_gold_letter_follows(study: experiment.Experiment) -> None:
    first, second = read(study, "gpqa")
    assert (first.choices or [])["ABCD".index(first.gold)] == "the W boson"
    assert (second.choices or [])["ABCD".index(second.gold)] == "thymine"
    assert read(study, "gpqa_official")[0].choices == first.choices


@pytest.mark.parametrize("name", FILES)
def test_a_prompt_asks_the_question_and_shows_every_choice(study: experiment.Experiment, name: str) -> None:
    template = study.benchmarks[name].evaluate["template"]
    assert not prompts.errors(template)
    for problem in read(study, name):
        prompt = prompts.render(template, problem)
        assert problem.question in prompt
        assert all(choice in prompt for choice in problem.choices or [])


def test_evolm_is_asked_without_a_word_more(study: experiment.Experiment) -> None:
    [first, _] = read(study, "amc23")
    assert prompts.render(study.benchmarks["amc23"].evaluate["template"], first) == (
        "Human: How many sides has a heptagon?\nAssistant:"
    )
    third = read(study, "arc")[2]
    assert prompts.render(study.benchmarks["arc"].evaluate["template"], third) == (
        "Human: Which shines by itself?\n\n(A) the Moon\n(B) the Sun\n(C) a mirror\n\n"
        "Please write your final answer in the form of \\boxed{a letter from A to C}.\nAssistant:"
    )


def test_qwen_math_has_its_chat_prompt() -> None:
    benchmark = experiment.read(composed("template=qwen_math", "benchmark=[amc23]"), {}).benchmarks["amc23"]
    problem = problems.read([{"question": "Why?", "answer": "1"}], kind="math", expected=1, shuffle=None)[0]
    assert prompts.render(benchmark.evaluate["template"], problem) == (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_mmlu_pro_has_worked_examples_of_its_category(study: experiment.Experiment) -> None:
    benchmark = study.benchmarks["mmlu_pro_5shot"]
    assert benchmark.shots is not None
    examples = rows.load(source(benchmark.shots.fields, "mmlu_pro_shots"))
    first, second = read(study, "mmlu_pro_5shot")
    shots = prompts.shots_of(first, examples, 2)
    # The text of format_cot_example and cot_prompt_lib/initial_prompt.txt in TIGER-AI-Lab/MMLU-Pro.
    assert prompts.render(benchmark.evaluate["template"], first, shots) == (
        "The following are multiple choice questions (with answers) about math. Think step by step and then finish "
        'your answer with "the answer is (X)" where X is the correct letter choice.\n\n\n\n'
        "Question:\nWhich sum is 0?\nOptions:\nA. 0+0\nB. 0+1\n"
        "Answer: Let's think step by step. 0 + 0 is 0. The answer is (A).\n\n"
        "Question:\nWhich sum is 1?\nOptions:\nA. 1+0\nB. 1+1\n"
        "Answer: Let's think step by step. 1 + 0 is 1. The answer is (A).\n\n"
        "Question:\nWhich sum is ten?\nOptions:\nA. 4+5\nB. 5+5\nAnswer: Let's think step by step."
    )
    assert [shot["question"] for shot in prompts.shots_of(second, examples, 5)][0] == "How many legs have 0 ants?"


def test_gpqa_and_arc_can_be_asked_as_others_ask_them(study: experiment.Experiment) -> None:
    problem = read(study, "gpqa_official")[1]
    a, b, c, d = problem.choices or []
    assert prompts.render(study.benchmarks["gpqa_official"].evaluate["template"], problem) == (
        "Human: What is the correct answer to this question: Which base pairs with adenine in DNA?\n\n"
        f"Choices:\n(A) {a}\n(B) {b}\n(C) {c}\n(D) {d}\n\n"
        'Format your response as follows: "The correct answer is (insert answer here)"\nAssistant:'
    )
    prompt = prompts.render(study.benchmarks["arc_chat"].evaluate["template"], read(study, "arc_chat")[2])
    assert prompt.endswith(
        'A. the Moon\nB. the Sun\nC. a mirror\nYour response should end with "The best answer is [the_answer_letter]" '
        "where the [the_answer_letter] is one of A, B or C.\nAssistant:"
    )


def test_the_paper_s_numbers(study: experiment.Experiment) -> None:
    found = {name: (each.evaluate["k"], each.evaluate["problems"]) for name, each in study.benchmarks.items()}
    assert {name: found[name] for name in ("gsm8k", "math500", "amc23", "minerva", "olympiad")} == {
        "gsm8k": (2, 1319),
        "math500": (4, 500),
        "amc23": (32, 40),
        "minerva": (4, 272),
        "olympiad": (4, 674),
    }
    assert {name: found[name] for name in ("gpqa", "arc", "mmlu_pro", "aime24", "aime25")} == {
        "gpqa": (4, 198),
        "arc": (4, 1172),
        "mmlu_pro": (1, 12032),
        "aime24": (32, 30),
        "aime25": (32, 30),
    }
    groups = {"ID": 5, "OOD": 3, "extra": 5}  # boxed letters stand apart from the paper's OOD average
    assert {group: sum(each.group == group for each in study.benchmarks.values()) for group in groups} == groups
