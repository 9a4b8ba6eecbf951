"""Every method against exhaustive search, what it guarantees, and a second implementation where there is one."""

from math import prod

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rldf_utils import charts, contest, landscape, peers, search
from rldf_utils import grammar as grammars
from rldf_utils.looks import Enough
from rldf_utils.readings import PRINTED
from rldf_utils.studio import Studio, lazily

BASE = grammars.load("base")
SURE = [m for m in peers.METHODS if m not in ("encoder only", "TPE", "GA", "consistent", "noisy gradient")]  #: find the optimum in the end


def separable(shape, rng) -> np.ndarray:
    """A landscape that is a sum over the axes, with one optimum."""
    parts = np.meshgrid(*(rng.permutation(n) + rng.random(n) / 3 for n in shape), indexing="ij")
    return sum(parts).ravel()


def reward_1(shape, target: int) -> np.ndarray:
    """Reward 1 as a cost in a world of made-up words, the last axis being the scene."""
    words = np.indices(shape).reshape(len(shape), -1)
    return -(np.array([1] * (len(shape) - 1) + [2]) @ (words != words[:, [target]])).astype(float)


@pytest.mark.parametrize("method", SURE)
def test_a_method_that_goes_on_finds_what_exhaustive_search_finds(method):
    rng = np.random.default_rng(0)
    for trial in range(6):
        shape = tuple(rng.integers(2, 5, size=3).tolist())
        values = separable(shape, rng)
        top = int(values.argmax())
        look = peers.race(method, values, shape, prod(shape), trial, target=top, stop=top)
        assert look.found()[-1] == top, (method, shape)
        assert len(set(look.states)) == len(look.states) <= prod(shape)
        known = dict(zip(look.states, look.rewards, strict=True))
        assert all(values[s] == r for s, r in known.items())


@pytest.mark.parametrize("method", peers.METHODS)
def test_a_race_depends_on_its_seed_alone(method):
    target = 77
    values = landscape.perfect(BASE, BASE.encoding(target))
    looks = [peers.race(method, values, BASE.shape, 25, seed, target) for seed in (3, 3, 4)]
    assert looks[0].states == looks[1].states and looks[0].proposals == looks[1].proposals
    assert looks[0].states != looks[2].states or method in ("encoder only", "exhaustive")


def test_the_encoder_looks_once_where_it_is_told():
    look = peers.race("encoder only", np.arange(24.0), (2, 3, 4), 24, 0, target=7)
    assert look.states == [7] and look.rewards == [7]


def test_exhaustive_search_goes_in_order_and_shows_every_draw():
    look = peers.race("exhaustive", np.arange(12.0).reshape(2, 6), (2, 3), 100, 0, target=0)
    assert look.states == [*range(6), *range(6)] and look.rewards == list(range(12))


def test_random_draws_without_replacement_find_one_of_n_by_k_with_probability_k_of_n():
    n, runs = 24, 4000
    values = np.zeros(n)
    values[9] = 1
    looks = [peers.race("random draw", values, (2, 3, 4), n, seed, 9, stop=9) for seed in range(runs)]
    at = np.array([look.proposals for look in looks])
    assert at.tolist() == [len(look.states) for look in looks]  # no state twice
    for k in (1, 6, 12, 23, 24):  # 4 standard errors: 3 percentage points
        assert abs((at <= k).mean() - k / n) < 4 * (k / n * (1 - k / n) / runs) ** 0.5 + 1e-12
    assert abs(at.mean() - (n + 1) / 2) < 4 * at.std() / runs**0.5


def test_a_random_walk_goes_one_word_at_a_time():
    shape, path = (3, 4, 2), []

    def look(state):
        path.append(state)
        if len(path) == 300:
            raise Enough
        return 0.0

    with pytest.raises(Enough):
        peers.random_walk(look, shape, np.random.default_rng(0))
    steps = np.abs(np.diff(np.array(np.unravel_index(path, shape)).T, axis=0)).sum(1)
    assert set(steps.tolist()) == {0, 1}  # 0 at a border


def test_one_axis_at_a_time_needs_one_pass_where_axes_add_up():
    rng = np.random.default_rng(1)
    for trial in range(200):
        shape = tuple(rng.integers(2, 7, size=rng.integers(1, 5)).tolist())
        values = separable(shape, rng)
        look = peers.race("one axis at a time", values, shape, prod(shape), trial, 0, stop=int(values.argmax()))
        assert len(look.states) <= sum(n - 1 for n in shape) + 1


def test_one_axis_at_a_time_begins_anew_at_a_fixed_point():
    values = np.array([[2.0, 0, 0], [0, 0, 0], [0, 0, 3]]).ravel()  # (0, 0) is a fixed point
    for seed in range(20):
        assert peers.race("one axis at a time", values, (3, 3), 9, seed, 8).found()[-1] == 8


@pytest.mark.parametrize("steepest", [False, True])
def test_hill_climbing_goes_straight_up_a_single_hill(steepest):
    values = -np.abs(np.arange(11.0) - 7)
    look = peers.race("hill-climb", values, (11,), 11, 1, 7, stop=7, steepest=steepest)
    start, *rest = look.states
    between = range(min(start, 7) - 1, max(start, 7) + 2)
    assert look.states[-1] == 7 and set(rest) <= set(between)


def calls_of_plain_mastermind(weights) -> list[int]:
    """Calls per target of the base world, by keeping the set of codes that give every answer so far, and guessing one of them."""
    words, rng, needed = np.indices(BASE.shape).reshape(4, -1), np.random.default_rng(1), []
    cost = np.array([np.array(weights) @ (words != words[:, [target]]) for target in range(BASE.size)])
    for target in range(BASE.size):
        left, guess, calls = np.arange(BASE.size), -1, 0
        while guess != target:
            guess, calls = rng.choice(left), calls + 1
            left = left[(cost[left, guess] == cost[target, guess]) & (left != guess)]
        needed.append(calls)
    return needed


@pytest.mark.parametrize("weights", [(1, 1, 1, 2), (1, 1, 1, 1)])
def test_consistent_needs_what_mastermind_needs_where_perception_is_perfect(weights):
    """Some 5.4 calls for reward 1, whose scene weighs double; 5.8 for the number of axes that match."""
    words, plain = np.indices(BASE.shape).reshape(4, -1), calls_of_plain_mastermind(weights)
    for error, better in ((1e-9, 0), (0.05, 0.15)):  # the likeliest of the consistent states is a better guess than any
        needed = []
        for target in range(BASE.size):
            values = -(np.array(weights) @ (words != words[:, [target]])).astype(float)
            options = {"stop": target, "weights": weights, "error": error}
            needed.append(len(peers.race("consistent", values, BASE.shape, 480, target, target, **options).states))
        assert max(needed) <= 10 and abs(np.mean(needed) - np.mean(plain) + better) < 0.2, (np.mean(needed), np.mean(plain))
    assert np.mean(needed) < 5.85


def test_reward_1_is_what_consistent_takes_it_for():
    for target in (0, 77, 479):
        assert np.array_equal(landscape.perfect(BASE, BASE.encoding(target)), reward_1(BASE.shape, target))


def test_consistent_without_errors_looks_only_at_states_that_all_answers_allow():
    shape, target = (3, 4, 3, 2), 41
    look = peers.race("consistent", reward_1(shape, target), shape, 72, 0, target, stop=target, error=1e-9)
    for k, state in enumerate(look.states):
        assert all(reward_1(shape, state)[s] == r for s, r in zip(look.states[:k], look.rewards[:k], strict=True))


def test_chances_of_answers_against_counting():
    shape, weights, error = (3, 2, 4), (1, 1, 2), 0.1
    rng = np.random.default_rng(0)
    costs, chances = peers.answers(shape, weights, error)
    assert np.allclose(chances.sum(1), 1) and costs.tolist() == [0, 1, 2, 3, 4]
    for bits in range(8):
        told = np.array([bits >> 2 & 1, bits >> 1 & 1, bits & 1])
        shown = np.where(told, 0, 1)  # the target is 0, 0, 0
        misread = rng.random((40_000, 3)) < error
        seen = np.where(misread, (shown + 1 + (rng.random((40_000, 3)) * (np.array(shape) - 1)).astype(int)) % shape, shown)
        counted = np.bincount((seen != 0) @ np.array(weights), minlength=5) / 40_000
        assert np.abs(counted - chances[bits]).max() < 0.012  # 4 standard errors are 0.01


def test_the_posterior_against_a_second_way():
    """By conditioning the joint normal of weights and observations, which never forms x'x."""
    rng = np.random.default_rng(0)
    x, noise = peers.one_hot((2, 3, 4))[rng.integers(24, size=9)], 0.3
    y = rng.normal(size=9)
    mean, covariance = peers.posterior(x.T @ x, x.T @ y, noise)
    gain = x.T @ np.linalg.inv(x @ x.T + noise**2 * np.eye(9))
    assert np.allclose(mean, gain @ y) and np.allclose(covariance, np.eye(10) - gain @ x)


def test_one_hot_rows_mark_the_words():
    x, shape = peers.one_hot((2, 3)), (2, 3)
    for state in range(6):
        i, j = np.unravel_index(state, shape)
        assert x[state].tolist() == [1, *(np.arange(2) == i), *(np.arange(3) == j)]


@pytest.mark.parametrize("method", ["Thompson, additive", "UCB, additive"])
def test_the_linear_bandit_is_quick_where_axes_add_up_whatever_the_scale(method):
    rng, needed = np.random.default_rng(2), []
    for trial in range(30):
        values = separable(BASE.shape, rng)
        looks = [peers.race(method, a + b * values, BASE.shape, 480, trial, 0, stop=int(values.argmax())) for a, b in ((0, 1), (-7, 0.01))]
        assert looks[0].states == looks[1].states
        needed.append(len(looks[0].states))
    assert np.median(needed) <= 20


@pytest.mark.parametrize("method", ["Thompson, additive", "UCB, additive", "consistent"])
def test_model_based_methods_look_at_no_picture_twice(method):
    shape = (2, 2, 2, 2)
    values = np.random.default_rng(0).normal(size=(3, 16))
    look = peers.race(method, values, shape, 100, 0, 0)
    assert len(look.states) == look.proposals == 48 and np.bincount(look.states).tolist() == [3] * 16


@pytest.mark.parametrize("method", ["TPE", "GA"])
def test_optunas_repeats_are_free(method):
    look = peers.race(method, reward_1((2, 3, 2), 5), (2, 3, 2), 12, 0, 5)
    assert len(look.states) == 12 < look.proposals


@pytest.mark.parametrize("method", ["Q", "SARSA", "Q, printed", "SARSA, printed"])
def test_the_compiled_loop_makes_the_calls_of_the_agents_own(method):
    shape, target = (3, 4, 3), 17
    values = reward_1(shape, target) + np.random.default_rng(0).normal(0, 0.3, 36)
    settings = peers.METHODS[method][1]
    several = peers.walks(values, shape, target, range(4), 30, **settings)
    for seed, compiled in enumerate(several):
        own = peers.race(method, values, shape, 30, seed, target)
        assert compiled.states == own.states and compiled.rewards == own.rewards
        assert compiled.proposals == own.proposals


def test_the_agents_of_a_race_are_told_the_target_by_their_episodes_end():
    """Two walks that differ in the target alone part at the first of the two that they come to."""
    shape, values = (3, 4, 3), np.zeros(36)
    walks = [peers.race("Q", values, shape, 36, 0, target).states for target in (17, 20)]
    same = next(k for k, (a, b) in enumerate(zip(*walks, strict=False)) if a != b)
    assert {17, 20} & set(walks[0][:same]) or walks[0][0] != walks[1][0]


def test_an_unknown_method_names_the_legal_ones():
    with pytest.raises(ValueError, match="'annealing' is not known.*'consistent'.*'exhaustive'"):
        peers.race("annealing", np.zeros(4), (2, 2), 4, 0, 0)


def test_a_method_that_proposes_outside_the_grid_is_an_error_with_its_name(monkeypatch):
    monkeypatch.setitem(peers.METHODS, "lost", (lambda look, shape, rng, step: look(step), {"step": 4}))
    with pytest.raises(ValueError, match="'lost' failed: state 4 is none of the grid's 4"):
        peers.race("lost", np.zeros(4), (2, 2), 4, 0, 0)


# The comparison.


def given(rng, n: int = 3, draws: int = 2) -> list[contest.Input]:
    grammar = grammars.load("smoke")
    found = []
    for truth in grammar.spread(n, rng):
        cost = np.stack([reward_1(grammar.shape, grammar.index(truth)) + rng.normal(0, 0.1, grammar.size) for _ in range(draws)])
        rewards = {(k, offset): cost + (5 if offset == "printed" else 0) for k in (1, 2, 3) for offset in ("cost", "printed")}
        misread = grammar.encoding((grammar.index(truth) + 5) % grammar.size)  # of the second: a target that is not the best state
        found.append(contest.Input(truth, misread if len(found) == 1 else truth, np.zeros(2), rewards))
    return found


@pytest.mark.parametrize("method", ["one axis at a time", "Q", "Q, printed"])
def test_ending_a_settled_run_changes_no_number(method):
    """`measure` lets a run end when target and optimum were seen; without that the curves are the same."""
    grammar, inputs, calls = grammars.load("smoke"), given(np.random.default_rng(0)), 24
    result = contest.measure(grammar, inputs, method, 1, range(3), calls)
    offset = PRINTED.offset if "printed" in method else "cost"
    for i, one in enumerate(inputs):
        values, target = one.rewards[1, offset][0], grammar.index(one.target)
        for seed in range(3):
            whole = peers.race(method, values, grammar.shape, calls, seed, target)
            found = np.pad(whole.found(), (0, calls - len(whole.states)), mode="edge")
            assert result.right[i, seed].tolist() == (found == values.argmax()).tolist()
            seen = [target in whole.states[: k + 1] for k in range(calls)]
            assert result.reached[i, seed].tolist() == seen


def test_moving_seeds_count_every_draw():
    grammar, inputs = grammars.load("smoke"), given(np.random.default_rng(0))
    result = contest.measure(grammar, inputs, "exhaustive", 1, range(2), 100, draws=2)
    assert (result.used == 48).all() and result.reached.shape == (3, 2, 100)
    for i, one in enumerate(inputs):
        assert result.answer[i, 0, -1] == one.rewards[1, "cost"].mean(0).argmax() and result.right[i, 0, -1]


def test_expected_running_time_by_hand():
    solved = np.zeros((1, 4, 5), bool)
    solved[0, 0, 2:] = True  # from call 3 on
    solved[0, 1, [1, 4]] = True  # lost again: for good from call 5 on
    solved[0, 2, 1] = True  # lost for good
    used = np.array([[3, 5, 5, 1]])
    spent, success = contest.expected_running_time(solved, used)
    assert spent.tolist() == [[3, 5, 5, 1]] and success.tolist() == [[1, 1, 0, 0]]
    result = contest.Result("m", 1, 1, solved, solved, np.zeros((1, 4, 5), int), used, used, used, 1.0)
    line = contest.row(result, np.random.default_rng(0))[1]
    assert line["ERT"] == 14 / 2 and line["median"] == 5 and "90 %" not in line


def test_fewer_calls_by_hand():
    def result(method, first):
        solved = np.arange(1, 41) >= np.full((4, 5, 1), first)
        used = np.full((4, 5), first)
        return contest.Result(method, 1, 1, solved, solved, np.zeros((4, 5, 40), int), used, used, used, 1.0)

    found = [result("a", 10), result("b", 20), result("c", 21)]
    table = contest.fewer(found, [("a", "b"), ("b", "a"), ("b", "c")], np.random.default_rng(0))
    assert table["ratio of calls"].to_numpy() == pytest.approx([0.5, 2, 20 / 21])
    assert table["verdict"].tolist() == ["reproduced", "contradicted", "contradicted"], "a tenth fewer is asked for"
    assert table["n"].tolist() == [5] * 3 and table["n to decide"].isna().all()


def test_an_undecided_comparison_says_how_many_seeds_would_decide():
    def result(method, mean, n):
        first = np.round(np.random.default_rng(len(method)).normal(mean, 25, (1, n))).clip(1)
        solved = np.arange(1, 201) >= first[..., None]
        return contest.Result(method, 1, 1, solved, solved, np.zeros((1, n, 200), int), first, first, first, 1.0)

    def row(n):
        return contest.fewer([result("a", 80, n), result("bb", 100, n)], [("a", "bb")], np.random.default_rng(0)).iloc[0]

    few = row(20)
    assert few["verdict"] == "undecided" and few["n to decide"] > few["n"] == 20
    assert row(int(1.6 * few["n to decide"]))["verdict"] == "reproduced"


def test_moves_by_hand():
    assert contest.moves([0, 5, 5, 23], (2, 3, 4)) == 2 + 0 + 1 + 1 + 2  # (0,0,0) (0,1,1) (0,1,1) (1,2,3)


def test_the_settings_tried_are_settings_of_their_methods():
    assert set(contest.TRIED) <= set(peers.METHODS)
    for method, options in contest.TRIED.items():
        for setting in options:
            look = peers.race(method, reward_1((2, 3, 2, 2), 5), (2, 3, 2, 2), 6, 0, 5, **setting)
            assert len(look.states) >= 1


class Flat:
    """A model whose pictures show the prompt's hash; it counts its batches."""

    fingerprint, batch = "flat", 4

    def __init__(self):
        self.drawn, self.batches = [], []

    def __call__(self, prompts, seeds):
        self.drawn += prompts
        self.batches.append(len(prompts))
        return np.zeros((len(prompts), 2, 2, 3), np.uint8)


class Eyes:
    """Sees what the prompt says, by the order of the pictures."""

    def __init__(self, model, grammar):
        self.model, self.grammar = model, grammar

    def embed_images(self, images):
        return np.ones((len(images), 2))

    def read(self, embeddings, grammar):
        prompts = self.model.drawn[-len(embeddings) :]
        return [type("Seen", (), {"encoding": grammar.parse(prompt)}) for prompt in prompts]


def test_races_side_by_side_are_the_races_one_by_one_and_draw_nothing_twice():
    model = Flat()
    studio = Studio(model, Eyes(model, BASE), BASE, 0)
    targets = [(BASE.encoding(t), np.ones(2)) for t in (5, 123, 470)]
    methods = {"consistent": {}, "one axis at a time": {}, "Thompson, additive": {}}
    table = lazily(studio, targets, methods, range(2), 60)
    assert table["reached"].all() and len(model.drawn) == len(set(model.drawn)) >= len(studio.seen)
    looked = {t for target in targets for method in methods for seed in range(2) for t in peers.race(
        method, landscape.perfect(BASE, target[0]), BASE.shape, 60, seed, BASE.index(target[0]), stop=BASE.index(target[0])).states}
    assert set(studio.seen) == looked, "what was drawn along was not seen"
    assert not np.mod(model.batches[:-1], model.batch).any(), "batches are full, of what lies around if need be"
    for row in table.itertuples():
        target = BASE.index(targets[row.input][0])
        values = landscape.perfect(BASE, BASE.encoding(target))
        assert row.calls == len(peers.race(row.method, values, BASE.shape, 60, row.seed, target, stop=target).states)
    before = len(model.drawn)
    again = lazily(studio, [(BASE.encoding(77), np.ones(2))], {"exhaustive": {}}, [0], 100)
    assert again["reached"].all() and before < len(model.drawn) == len(set(model.drawn)), "a studio can be used again"


def test_an_error_in_a_race_or_a_model_ends_all_races():
    model = Flat()
    studio = Studio(model, Eyes(model, BASE), BASE, 0)
    with pytest.raises(ValueError, match="not known"):
        lazily(studio, [(BASE.encoding(5), np.ones(2))], {"exhaustive": {}, "annealing": {}}, [0], 20)

    class Broken(Flat):
        def __call__(self, prompts, seeds):
            raise RuntimeError("no memory")

    studio = Studio(Broken(), Eyes(model, BASE), BASE, 0)
    with pytest.raises(RuntimeError, match="no memory"):
        lazily(studio, [(BASE.encoding(5), np.ones(2))], {"exhaustive": {}}, [0], 20)


def test_agents_that_races_know_are_agents():
    names = {settings["agent"] for function, settings in peers.METHODS.values() if function is peers.walk}
    assert names <= set(search.AGENTS)


def test_the_factored_agents_own_answer_is_not_the_picture_that_came_out_too_well():
    shape, target, lucky = (3, 4, 3), 17, 4
    values = reward_1(shape, target)
    values[lucky], values[target] = 0.0, -1.0  # one picture is misread as the target, the target's own as a neighbour
    looks = [peers.race("factored agent", values, shape, 30, seed, target) for seed in range(5)]
    assert [look.found()[-1] for look in looks] == [lucky] * 5 and [look.answer for look in looks] == [target] * 5
    assert peers.race("one axis at a time", values, shape, 30, 0, target).answer is None


def test_the_factored_agents_last_calls_are_other_draws_of_what_may_be_its_answer():
    target, near = BASE.index((2, 3, 1, 4)), BASE.index((2, 4, 1, 4))
    draws = np.stack([landscape.perfect(BASE, (2, 3, 1, 4))] * 3)
    draws[0, near] = 1.0
    lucky, better = draws, draws.copy()
    better[1:, near] = 1.0
    inputs = [contest.Input(BASE.encoding(target), BASE.encoding(target), np.zeros(2), {(1, "cost"): d}) for d in (lucky, better)]
    assert contest.own(BASE, inputs, 1, range(3), 200).tolist() == [[target] * 3, [near] * 3]
    alone = contest.own(BASE, inputs, 1, range(3), 31)
    looks = [peers.race("factored agent", draws[:1], BASE.shape, 31, seed, target) for seed in range(3)]
    assert alone[0].tolist() == [look.answer for look in looks], "of few calls none is kept for looking again"


class Sees:
    """A picture is its state's number, in one of two pixels; CLIP and the judge see what its sentence says."""

    def __init__(self, grammar):
        self.grammar = grammar

    def embed_images(self, pictures):
        return np.eye(self.grammar.size)[pictures[:, 0, 0, 0]]

    def read(self, embeddings, grammar):
        return [type("Seen", (), {"encoding": grammar.encoding(int(k))}) for k in embeddings.argmax(1)]

    def __call__(self, pictures):
        return [self.grammar.decode(self.grammar.encoding(int(k))) for k in pictures[:, 0, 0, 0]]


def painted(states, blank=False):
    """Two draws of the states' pictures, (2, states, 1, 2, 3)."""
    one = np.array([[[[state] * 3, [state if blank else 99] * 3]] for state in states])
    return np.stack([one, one])


def test_the_judged_rows_by_hand_and_an_own_answer_stands_below_its_method():
    grammar, inputs = grammars.load("smoke"), given(np.random.default_rng(0))
    inputs = [contest.Input(one.truth, one.target, np.eye(24)[grammar.index(one.truth)], one.rewards) for one in inputs]
    truth, eyes = np.array([[grammar.index(one.truth)] * 2 for one in inputs]), Sees(grammar)
    wrong = truth.copy()
    wrong[0] = (truth[0] + 12) % 24  # another first word
    same = np.zeros((3, 2, 5), bool)
    results = [contest.Result(m, 1, 1, same, same, np.repeat(wrong[..., None], 5, 2), same[0], same[0], same[0], 1.0) for m in ("a", "b")]
    table = contest.judged(grammar, inputs, results, 8, eyes, eyes, painted, 2, {("a", 1): truth})
    assert table["method"].tolist() == ["a", "a, own answer", "b", "true sentence"]
    assert table["all"].tolist() == [2 / 3, 1, 2 / 3, 1] and table["axes"].to_numpy() == pytest.approx([11 / 12, 1, 11 / 12, 1])
    believed = [one.rewards[1, "cost"][0, states[0]] for one, states in zip(inputs, truth, strict=True)]
    assert table["believed"].iloc[1] == pytest.approx(np.mean(believed))
    black = contest.judged(grammar, inputs, results, 8, eyes, eyes, lambda states: painted(states, blank=True), 2, {})
    nothing = landscape.perceived(grammar, [(-1, -1, -1)], np.zeros((1, 24)), inputs[0].target, inputs[0].embedding)[1]
    assert (black["fresh"] == nothing[0]).all() and (table["fresh"] > nothing[0]).all(), "one colour shows nothing"


# The charts.


def test_every_named_curve_is_labelled_where_it_passes_one_half_and_no_labels_touch():
    calls = np.arange(1, 129)
    curves = {name: np.minimum(calls / (12 + k), 1.0) for k, name in enumerate(charts.METHODS)} | {"nobody's": calls / 128}
    curves["GA"] = np.full(64, 0.2)  # never passes one half
    figure = charts.solved({"one": curves, "two": curves, "three": curves})
    for ax in figure.axes[:3]:
        at = {text.get_text(): text.get_position()[0] for text in ax.texts if text.get_text()}
        assert set(at) == {name.removesuffix(", additive") for name in charts.METHODS}
        places = np.sort(list(at.values()))
        assert np.diff(places).min() > 0.05 and 0 <= places[0] and places[-1] <= 1
        marks = [line for line in ax.lines if line.get_marker() == "o"]
        assert len(marks) == len(charts.METHODS)
        for mark in marks:
            (x,), (y,) = mark.get_data()
            assert (x, y) == (64, 0.2) or curves_at(curves, x, y)
    plt.close(figure)


def curves_at(curves, x: float, y: float) -> bool:
    """Whether a curve passes one half at call x, with share y."""
    return any(len(c) >= x and c[int(x) - 1] == y >= 0.5 and (x == 1 or c[int(x) - 2] < 0.5) for c in curves.values())


def test_the_dots_of_the_judged_are_within_their_bars():
    methods = ("factored agent", "factored agent, own answer", "Q, printed", "true sentence")
    table = pd.DataFrame([{"method": m, "reward": 1, "all": 0.5, "all low": 0.4, "all high": 0.7} for m in methods])
    figure = charts.judged(table)
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()][::-1] == list(methods[:-1])
    for bar, dot in zip(ax.lines[1::2], ax.lines[2::2], strict=True):
        assert bar.get_xdata()[0] <= dot.get_xdata()[0] <= bar.get_xdata()[1]
    assert [dot.get_marker() for dot in ax.lines[2::2]] == ["o", "D", "o"]
    grey, own, agent = (dot.get_color() for dot in ax.lines[2::2])
    assert own == agent == charts.METHODS["factored agent"] != grey
    plt.close(figure)
