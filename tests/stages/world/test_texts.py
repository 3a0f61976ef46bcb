import re
from random import Random

from stages.world.problems import Chain
from stages.world.texts import Texts, steps, told

EQUATION = re.compile(r"(?<![\d+-])(\d+(?:[+-]\d+)+)=(\d+)")


def _equations(texts: Texts, documents: int) -> list[tuple[str, int]]:
    random = Random(0)
    found = (EQUATION.findall(texts.document(random)) for _ in range(documents))
    return [(left, int(right)) for equations in found for left, right in equations]


def test_steps_show_every_partial_result():
    assert steps(12, (7, -3)) == ("12+7=19. 19-3=16. ", 16)


def test_steps_go_on_with_what_was_heard():
    assert steps(12, (7, -3), hear=lambda result: result + 1) == ("12+7=20. 20-3=18. ", 18)


def test_a_story_tells_the_chain():
    story = told(Chain(12, (7, -3)), Random(0))
    assert [int(number) for number in re.findall(r"\d+", story)] == [12, 7, 3]
    assert story.endswith("?")


def test_without_noise_every_equation_holds():
    equations = _equations(Texts(largest=60, noise=0.0), documents=500)
    assert len(equations) > 500
    assert all(eval(left) == right for left, right in equations)


def test_noise_is_the_share_of_wrong_results():
    equations = _equations(Texts(largest=60, noise=0.2), documents=3000)
    wrong = sum(eval(left) != right for left, right in equations)
    assert 0.17 < wrong / len(equations) < 0.23


def test_reserved_expressions_are_never_written():
    reserved = frozenset(f"{a}+{b}" for a in range(10) for b in range(10))
    texts = Texts(largest=10, noise=0.0, reserved=reserved)
    random = Random(0)
    assert all(texts.chain(random).expression not in reserved for _ in range(1000))


def test_documents_depend_on_the_seed_alone():
    texts = Texts(largest=60, noise=0.15)

    def first(seed: int) -> list[str]:
        random = Random(seed)
        return [texts.document(random) for _ in range(20)]

    assert first(1) == first(1)
    assert first(1) != first(2)
