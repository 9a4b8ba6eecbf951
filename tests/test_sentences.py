"""Reading sentences and finding ambiguous ones, against every reading of every sentence written out."""

import random
from itertools import product

import pytest

from rldf_utils import grammar
from rldf_utils.sentences import ambiguous, read

FORMS = ("", "a", "b", "a a", "a b", "b a", "a b a", "b b")


def drawn(rng: random.Random):
    """Two to four slots of one to four words over two tokens: some have two forms, some change the number."""
    slots = []
    for _ in range(rng.randint(2, 4)):
        singular, plural = {}, {}
        words = rng.sample(FORMS, rng.randint(1, 4))
        others = rng.sample([form for form in FORMS if form not in words], min(len(words), len(FORMS) - len(words)))
        for choice, word in enumerate(words):
            change = rng.choice((None, None, False, True))
            second = rng.choice((word, others[choice])) if change is None and choice < len(others) else word
            for number, forms, form in ((False, singular, word), (True, plural, second)):
                forms[tuple(form.split())] = choice, number if change is None else change
        slots.append((singular, plural))
    return slots


def sentences(slots) -> dict[tuple, list[list[int]]]:
    """Every sentence and its readings, one choice of words after the other."""
    found = {}
    for choices in product(*(range(len(slot[0])) for slot in slots)):
        plural, sentence = False, ()
        for slot, choice in zip(slots, choices, strict=True):
            tokens, plural = next((t, after) for t, (c, after) in slot[plural].items() if c == choice)
            sentence += tokens
        found.setdefault(sentence, []).append(list(choices))
    return found


SLOTS = [drawn(random.Random(seed)) for seed in range(3000)]


def test_ambiguity_is_found_exactly_where_two_readings_have_one_sentence():
    ambiguities = 0
    for slots in SLOTS:
        every = sentences(slots)
        pair = ambiguous(slots)
        assert (pair is None) == all(len(readings) == 1 for readings in every.values()), slots
        if pair:
            assert pair[0] != pair[1] and any(pair[0] in readings and pair[1] in readings for readings in every.values()), slots
            ambiguities += 1
    assert 500 < ambiguities < 2500, "the draws are of both kinds"


def test_reading_is_the_inverse_of_writing_and_knows_no_other_sentence():
    for slots in SLOTS[:600]:
        every = sentences(slots)
        for length in range(4):
            for tokens in product("ab", repeat=length):
                assert (read(slots, tokens)[0] is not None) == (tokens in every)
        for sentence, readings in every.items():
            assert read(slots, sentence)[0] in readings


@pytest.mark.parametrize("name", grammar.SHIPPED)
def test_the_shipped_grammars_have_one_reading_a_sentence(name):
    assert ambiguous(grammar.load(name)._slots) is None


def test_as_many_tokens_are_read_as_can_be():
    slots = grammar.load("base")._slots
    assert read(slots, "a photo of one zebra".split()) == (None, 4)
    assert read(slots, "a photo of two dog and no people in a farm".split()) == (None, 4)
    assert read(slots, "a photo of two dog and no people in a farm".split(), agreement=False) == ([0, 1, 4, 0, 0, 0, 0, 1], 11)


def test_pairs_without_end_are_an_error():
    """A thousand words that may each be left out: more than 300,000 pairs of readings."""
    slots = [({(): (0, False), (f"x{k}",): (1, False)},) * 2 for k in range(1200)]
    with pytest.raises(ValueError, match="too many words are empty or begin with one another"):
        ambiguous(slots)
    assert ambiguous(slots[:300]) is None
