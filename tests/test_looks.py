"""Counting by hand: calls, repeats, draws, limits, the stop signal, the answer."""

import numpy as np
import pytest

from rldf_utils.looks import Enough, Looks


def test_with_fixed_seeds_a_repeated_look_is_free():
    look = Looks(np.array([0.0, 2.0, 1.0]), calls=3)
    assert [look(s) for s in (2, 2, 0, 2)] == [1, 1, 0, 1]
    assert look.states == [2, 0] and look.rewards == [1, 0] and look.proposals == 4


def test_with_moving_seeds_each_draw_is_a_call_until_all_were_seen():
    look = Looks(np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]]), calls=6)
    assert [look(s) for s in (1, 0, 1, 1, 1, 1)] == [5, 0, 6, 7, 5, 6]
    assert look.states == [1, 0, 1, 1] and look.rewards == [5, 0, 6, 7] and look.proposals == 6


def test_a_function_is_asked_once_per_picture():
    asked = []
    look = Looks(lambda state, draw: float(asked.append((state, draw)) or 10 * state + draw), calls=9, size=3, draws=2)
    assert [look(s) for s in (1, 1, 1, 2)] == [10, 11, 10, 20] and asked == [(1, 0), (1, 1), (2, 0)]


def test_the_look_after_the_last_call_ends_the_search():
    look = Looks(np.zeros(5), calls=2)
    look(0), look(1)
    for state in (2, 0):  # a repeat too: nothing new can come
        with pytest.raises(Enough):
            look(state)
    assert look.states == [0, 1] and look.proposals == 2


def test_calls_beyond_all_pictures_end_no_run():
    look = Looks(np.arange(3.0), 4, proposals=50)
    for _ in range(16):
        assert [look(state) for state in range(3)] == [0, 1, 2]
    assert look.states == [0, 1, 2] and look.proposals == 48
    exact = Looks(np.arange(3.0), 3)
    for state in range(3):
        exact(state)
    with pytest.raises(Enough):
        exact(0)


def test_the_look_after_the_last_proposal_ends_the_search():
    look = Looks(np.zeros(5), calls=5, proposals=3)
    look(0), look(0), look(0)
    with pytest.raises(Enough):
        look(1)
    assert look.states == [0] and look.proposals == 3


def test_the_stop_state_counts_as_a_call():
    look = Looks(np.array([1.0, 2.0, 3.0]), calls=3, stop=2)
    look(0)
    with pytest.raises(Enough):
        look(2)
    assert look.states == [0, 2] and look.rewards == [1, 3]


def test_of_several_groups_each_must_be_met():
    look = Looks(np.arange(6.0), calls=6, stop=({1, 2}, {4}))
    assert [look(s) for s in (0, 2, 1)] == [0, 2, 1]
    with pytest.raises(Enough):
        look(4)
    look = Looks(np.arange(6.0), calls=6, stop=({4}, {4, 5}))
    with pytest.raises(Enough):
        look(4)


@pytest.mark.parametrize("state", [-1, 3])
def test_a_look_outside_the_grid_is_an_error(state):
    with pytest.raises(ValueError, match=f"state {state} .* 3"):
        Looks(np.zeros(3), calls=3)(state)


def test_the_answer_is_the_first_of_the_highest_mean():
    look = Looks(np.array([[3.0, 1.0, 3.0], [-1.0, 2.0, 3.0]]), calls=6)
    for state in (1, 0, 2, 0, 1, 2):
        look(state)
    # means: 1: 1 | 0: 3 | 2: 3, later | 0: 1, so 2 | 1: 1.5 | 2: 3
    assert look.found().tolist() == [1, 0, 0, 2, 2, 2]


def test_the_answer_can_fall_back():
    look = Looks(np.array([[1.0, 2.0], [1.0, -4.0]]), calls=4)
    for state in (0, 1, 1):
        look(state)
    assert look.found().tolist() == [0, 1, 0]


def test_the_answer_against_the_definition():
    rng = np.random.default_rng(0)
    look = Looks(rng.integers(4, size=(3, 6)).astype(float), calls=18)
    for state in rng.integers(6, size=17):
        look(state)
    for k, answer in enumerate(look.found(), 1):
        means = {s: np.mean([r for t, r in zip(look.states[:k], look.rewards[:k], strict=True) if t == s]) for s in look.states[:k]}
        assert answer == max(means, key=means.get)


@pytest.mark.parametrize("options", [{"calls": 0}, {"calls": 1, "proposals": 0}, {"calls": 1.5}])
def test_limits_must_be_positive_integers(options):
    with pytest.raises(ValueError, match="not legal"):
        Looks(np.zeros(3), **options)


def test_spare_pictures_are_shown_beside_the_looks():
    look = Looks(np.zeros(4), calls=2, spare=np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
    assert look.again([2, 0]).tolist() == [[3, 1], [7, 5]] and look.states == []
    assert Looks(np.zeros(4), calls=2).again is None
