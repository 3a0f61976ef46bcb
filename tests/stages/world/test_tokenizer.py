from random import Random

from stages.data.tokens import sequence
from stages.world import tokenizer
from stages.world.texts import Texts


def _trained():
    random, texts = Random(0), Texts(largest=60, noise=0.15)
    return tokenizer.train([texts.document(random) for _ in range(500)], vocabulary=300)


def test_digits_are_single_tokens():
    assert _trained().convert_ids_to_tokens(_trained()("120+45")["input_ids"]) == ["1", "2", "0", "+", "4", "5"]


def test_no_token_is_added_by_itself_and_text_comes_back():
    words = _trained()
    ids = words("Question: Compute 1+2.\nAnswer:")["input_ids"]
    assert not {words.eos_token_id, words.pad_token_id} & set(ids)
    assert words.decode(ids) == "Question: Compute 1+2.\nAnswer:"


def test_a_sequence_ends_with_one_eos():
    words = _trained()
    assert sequence(words, "1+2=", "3").input_ids[-2:] == [*words("3")["input_ids"], words.eos_token_id]


def test_the_vocabulary_is_as_large_as_asked_for_and_the_same_every_time():
    assert len(_trained()) == 300
    assert _trained().get_vocab() == _trained().get_vocab()
