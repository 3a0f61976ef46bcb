import re

import pytest

from stages.world import sets

SIZES = sets.Sizes(sft=40, rl=30, test=20, easy=0.75)


@pytest.fixture(scope="module")
def made() -> sets.Sets:
    return sets.make(seed=0, largest=60, sizes=SIZES)


def _asked(rows: list[sets.Row]) -> set[str]:
    return {row["prompt"] for row in rows}


def test_every_set_has_its_size_and_no_row_twice(made):
    sizes = {"demonstrations": 40, "problems": 30, "id": 20, "chains": 20, "words": 20, "choice": 20}
    assert {name: len(rows) for name, rows in made.rows.items()} == sizes
    for name, rows in made.rows.items():
        assert len({row["id"] for row in rows}) == sizes[name]
        assert len(_asked(rows)) == sizes[name]


def test_benchmarks_are_disjoint_from_what_is_trained_on(made):
    trained = _asked(made.rows["demonstrations"]) | _asked(made.rows["problems"])
    assert len(trained) == 70
    for name in ("id", "chains", "words", "choice"):
        assert not trained & _asked(made.rows[name])


def test_stories_tell_other_problems_than_those_trained_on(made):
    def numbers(name: str) -> set[tuple[str, ...]]:
        return {tuple(re.findall(r"\d+", row["prompt"])) for row in made.rows[name]}

    assert not numbers("words") & (numbers("demonstrations") | numbers("problems"))


def test_the_base_may_read_none_of_the_benchmark_problems(made):
    for row in made.rows["id"] + made.rows["chains"]:
        assert re.search(r"Compute (\S+)\.\n", row["prompt"]).group(1) in made.reserved


def test_demonstrations_are_right_and_end_with_the_boxed_answer(made):
    for row in made.rows["demonstrations"]:
        expression = re.search(r"Compute (\S+)\.\n", row["prompt"]).group(1)
        assert row["completion"].endswith(f"\\boxed{{{eval(expression)}}}.")


def test_easy_is_the_exact_share_of_demonstrations_without_steps(made):
    assert sum("This is easy." in row["completion"] for row in made.rows["demonstrations"]) == 30


def test_sets_depend_on_the_seed_alone(made):
    assert sets.make(seed=0, largest=60, sizes=SIZES) == made
    assert sets.make(seed=1, largest=60, sizes=SIZES) != made
