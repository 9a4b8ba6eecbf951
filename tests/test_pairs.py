"""Two kinds of objects in one picture: the counter finds both numbers, and not what is not there."""

import numpy as np
import pytest

from rldf_utils import grammar, pairs
from rldf_utils.tiny import world

DOUBLE = grammar.load("pairs")


def some(n: int) -> list[dict[str, str]]:
    words = [DOUBLE.decode(e) for e in DOUBLE.spread(3 * n, np.random.default_rng(0))]
    return [one for one in words if one["Noun"] != one["Other"]][:n]


def test_the_grammar_has_two_noun_phrases_that_agree_with_their_numerals():
    sentence = "a photo of two dogs and one football in a farm"
    assert DOUBLE.surface(DOUBLE.parse(sentence)) == sentence
    assert DOUBLE.size == 1620 and "one dog and three coins" in DOUBLE.surface(DOUBLE.encode(
        {"Frequency": "one", "Noun": "dog", "Others": "three", "Other": "coin", "Scene": "a street"}))  # fmt: skip


def test_both_numbers_are_counted_in_renders():
    words = some(60)
    found = pairs.count([pairs.render(one, 2**31 + k) for k, one in enumerate(words)], words)
    assert pairs.exact(found, words).all()


def test_what_is_not_there_is_not_counted():
    words = some(40)
    alone = [world.render({key: one[key] for key in ("Frequency", "Noun", "Scene")}, 2**31 + k) for k, one in enumerate(words)]
    table = pairs.table({"alone": pairs.count(alone, words)}, words)
    assert table["first exact"].item() > 0.9 and table["both exact"].item() < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_renders_are_seeded(seed):
    one = some(1)[0]
    assert (pairs.render(one, seed) == pairs.render(one, seed)).all() and (pairs.render(one, seed) != pairs.render(one, seed + 99)).any()
