"""The environment: every (state, action) of the base world, distances against a search, and the episode's rules."""

import copy
import pickle
import shutil
import subprocess
import sys
import warnings
from collections import Counter, deque
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from rldf_utils import grammar, rewards
from rldf_utils import landscape as landscapes
from rldf_utils.env import RLDFEnv, around, distances, successors, transition_table
from rldf_utils.grammar import GrammarError
from rldf_utils.landscape import ascent, optima, perceived, perfect, roughness
from rldf_utils.landscape import load as load_landscape
from rldf_utils.readings import PRINTED, Reading
from rldf_utils.tiny import world

BASE = grammar.load()
TARGET = (2, 3, 2, 2)
NEIGHBOUR = (2, 3, 2, 1)  # one step down the Scene axis from the target
TO_TARGET = 6  # one step up the Scene axis


@pytest.mark.parametrize("settings", [{}, {"landscape": np.linspace(-1, 1, 480), "target": (0, 0, 0, 0), "render_mode": "rgb_array"}])
def test_gymnasium_accepts_the_environment(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("RLDF-v0", **settings).unwrapped)


def walk(env, seed=3, steps=40):
    """States, rewards and ends of a random walk that the seed fixes."""
    rng, seen = np.random.default_rng(seed), [env.reset(seed=seed)[0]]
    for _ in range(steps):
        seen.append(env.step(int(rng.integers(env.action_space.n)))[:4])
    return seen


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"])
def test_a_copy_walks_like_the_original(copied):
    env = RLDFEnv("smoke", render_mode="rgb_array", max_steps=7)
    first, again = copied(env), copied(env)
    assert walk(first) == walk(env) == walk(again)
    half, rest = copied(env), [env.reset()[0] for _ in range(5)]
    assert [half.reset()[0] for _ in range(5)] == rest, "the copy's random numbers stand where the original's stood"
    assert (copied(half).render() == half.render()).all() and half.grammar == env.grammar


def test_gymnasiums_processes_take_it():
    """Each environment in a process of its own: sent there, and its observations sent back."""
    spawned = {"context": "spawn"}  # a fork of this process would copy the threads' locks that other tests' libraries hold
    envs = gym.make_vec("RLDF-v0", num_envs=2, vectorization_mode="async", vector_kwargs=spawned, grammar="smoke", target=(1, 1, 1, 1))
    alone = [RLDFEnv("smoke", (1, 1, 1, 1)) for _ in range(2)]
    try:
        states, infos = envs.reset(seed=4)
        assert states.tolist() == [env.reset(seed=4 + i)[0] for i, env in enumerate(alone)]
        states, rewards, *_, infos = envs.step(np.array([2, 4]))
        wanted = [env.step(action) for env, action in zip(alone, (2, 4), strict=True)]
        assert states.tolist() == [w[0] for w in wanted] and rewards.tolist() == [w[1] for w in wanted]
        assert infos["distance"].tolist() == [w[4]["distance"] for w in wanted]
    finally:
        envs.close()


@pytest.mark.parametrize("mode", ["human", "ansi", "", "RGB_ARRAY"])
def test_an_unknown_render_mode_is_refused(mode):
    with pytest.raises(ValueError, match=f"render_mode = '{mode}' is not known; choose one of None, 'rgb_array'"):
        RLDFEnv(render_mode=mode)


def test_before_the_first_reset_there_is_nothing_to_step_from_or_to_render():
    env = RLDFEnv(render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="reset before the first step"):
        env.step(0)
    with pytest.raises(ResetNeeded, match="reset before the first render"):
        env.render()
    env.reset(seed=0)
    assert env.step(0)[0] == env.state and env.render().shape == (64, 64, 3)


def test_after_the_end_of_an_episode_the_walk_goes_on_as_in_cliff_walking():
    env = RLDFEnv(target=TARGET, start=NEIGHBOUR, max_steps=2)
    env.reset()
    assert [env.step(action)[:4] for action in (TO_TARGET, TO_TARGET + 1, TO_TARGET)] == [
        (env.target, 0.0, True, False), (BASE.index(NEIGHBOUR), -2.0, False, True), (env.target, 0.0, True, True),
    ]  # fmt: skip
    cliff = gym.make("CliffWalking-v1").unwrapped
    cliff.reset()
    cliff.s = 35
    assert [cliff.step(action)[:3] for action in (2, 0)] == [(47, -1, True), (35, -1, False)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "max_steps = 0 is not legal; choose an integer, 1 or more"),
        ({"max_steps": 2.5}, "max_steps = 2.5"),
        ({"penalty": "low"}, "penalty = 'low'"),
        ({"landscape": "rough"}, "the landscape is neither an array of numbers nor a function"),
        ({"landscape": [None] * 480}, "the landscape is (neither|not finite)"),
    ],
)
def test_arguments_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        RLDFEnv(**settings)


@pytest.mark.parametrize("seed", [-1, 1.5, "0"])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match=f"seed = {seed!r} is not legal; choose an integer, 0 or more"):
        RLDFEnv().reset(seed=seed)


def test_a_grammar_of_too_many_states_is_refused_before_anything_is_made():
    full = grammar.load("full")
    for make in (lambda: RLDFEnv("full"), lambda: gym.make("RLDF-v0", grammar=full), lambda: perfect(full, (0,) * 12)):
        with pytest.raises(GrammarError, match=r"full has 2,488,320,000 states \(4 x 100 .* takes at most 2,000,000: leave out"):
            make()
    for make in (lambda: transition_table((10**5, 10**5)), lambda: distances((10**5, 10**5), (0, 0))):
        with pytest.raises(ValueError, match="number of states = 10000000000 is not legal; choose an integer, from 1 to 2,000,000"):
            make()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 2, 3, 2, 2)])
def test_any_number_of_axes(shape):
    g = grammar.grid(shape)
    env = RLDFEnv(g, target=tuple(n - 1 for n in shape), start=(0,) * len(shape))
    table = transition_table(shape)
    for state, action in np.ndindex(table.shape):
        wanted = list(g.encoding(state))
        wanted[action // 2] = min(max(wanted[action // 2] + (1, -1)[action % 2], 0), shape[action // 2] - 1)
        assert g.encoding(int(table[state, action])) == tuple(wanted)
    env.reset()
    ups = [2 * k for k, n in enumerate(shape) for _ in range(n - 1)]
    *_, last = [env.step(action) for action in ups]
    assert last[2] and last[4]["distance"] == 0 and env.distance[0] == len(ups)
    assert env.rewards.argmax() == env.target and (env.rewards == env.rewards.max()).sum() == 1


@pytest.mark.parametrize("action", range(8))
def test_each_action_steps_along_its_axis_or_stays_at_the_border(action):
    table, axis, step = transition_table(BASE.shape), action // 2, 1 - 2 * (action % 2)
    for state, encoding in enumerate(BASE.states()):
        wanted = list(encoding)
        if 0 <= encoding[axis] + step < BASE.shape[axis]:
            wanted[axis] += step
        assert BASE.encoding(int(table[state, action])) == tuple(wanted)


def test_step_follows_the_table_for_every_state_and_action():
    env = RLDFEnv(reading=Reading(end="go on"), max_steps=10**9)
    table = transition_table(BASE.shape)
    assert table.shape == (480, 8)
    env.reset(seed=0)
    for state in range(480):
        for action in range(8):
            env.state = state
            reached, reward, terminated, truncated, info = env.step(action)
            assert reached == table[state, action] == BASE.index(info["encoding"])
            assert reward == env.reward(reached)
            assert not terminated and not truncated


@pytest.mark.parametrize("target", [(0, 0, 0, 0), TARGET, (3, 5, 3, 4)])
def test_distances_are_shortest_paths(target):
    table = transition_table(BASE.shape)
    found, queue = {BASE.index(target): 0}, deque([BASE.index(target)])
    while queue:  # every step can be undone, so the search may start at the target
        state = queue.popleft()
        for neighbour in map(int, table[state]):
            if neighbour not in found:
                found[neighbour] = found[state] + 1
                queue.append(neighbour)
    assert distances(BASE.shape, target).tolist() == [found[state] for state in range(480)]


def test_reset_is_uniform_over_the_states_other_than_the_target():
    env = RLDFEnv(target=TARGET)
    counts = Counter([env.reset(seed=0)[0]] + [env.reset()[0] for _ in range(479 * 20 - 1)])
    assert env.target not in counts
    assert len(counts) == 479
    chi_squared = sum((n - 20) ** 2 / 20 for n in counts.values())
    assert abs(chi_squared - 478) < 4 * np.sqrt(2 * 478)  # mean and standard deviation of chi squared, 478 degrees


@pytest.mark.parametrize("target", [(0, 0, 0, 0), (3, 5, 3, 4)])
def test_reset_avoids_a_target_in_the_corner(target):
    env = RLDFEnv(target=target)
    seen = {env.reset(seed=seed)[0] for seed in range(1500)}
    assert env.target not in seen
    assert min(seen) <= 2 and max(seen) >= 477


def test_reset_is_reproducible():
    def starts(seed):
        env = RLDFEnv()
        return [env.reset(seed=seed)[0]] + [env.reset()[0] for _ in range(5)]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)


def test_start_is_an_argument_and_an_option():
    env = RLDFEnv(start=(0, 1, 2, 3))
    assert env.reset()[0] == BASE.index((0, 1, 2, 3))
    state, info = env.reset(options={"start": (0, 0, 0, 0)})
    assert state == 0
    assert info == {
        "encoding": (0, 0, 0, 0), "distance": 9, "prompt": "a photo of one banana and no people in a forest",
    }  # fmt: skip


def test_terminates_at_the_target():
    env = RLDFEnv(target=TARGET, start=NEIGHBOUR)
    env.reset()
    state, reward, terminated, truncated, info = env.step(TO_TARGET)
    assert (state, terminated, truncated, info["distance"]) == (env.target, True, False, 0)
    assert reward == 0  # nothing is wrong; each of the three object elements costs 1, the scene 2


def test_search_may_go_on_past_the_target():
    env = RLDFEnv(target=TARGET, start=NEIGHBOUR, reading=Reading(end="go on"))
    env.reset()
    assert env.step(TO_TARGET)[2] is False


def test_truncates_after_max_steps_and_counts_anew_after_reset():
    env = RLDFEnv(target=(3, 5, 3, 4), start=(0, 0, 0, 0), max_steps=3)
    for _ in range(2):
        env.reset()
        assert [env.step(1)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


def test_last_step_may_terminate_and_truncate():
    env = RLDFEnv(target=TARGET, start=NEIGHBOUR, max_steps=1)
    env.reset()
    assert env.step(TO_TARGET)[2:4] == (True, True)


def test_terminal_bonus_is_paid_at_the_target_only():
    plain, paid = RLDFEnv(target=TARGET), RLDFEnv(target=TARGET, reading=Reading(bonus=10))
    difference = [paid.reward(s) - plain.reward(s) for s in range(480)]
    assert difference == [10 * (s == plain.target) for s in range(480)]


def test_an_array_is_the_reward_of_the_state_arrived_at():
    env = RLDFEnv(landscape=np.arange(480), start=(0, 0, 0, 0))
    env.reset()
    assert env.step(0)[:2] == (120, 120.0)


def test_a_callable_landscape_is_asked_once_a_state():
    asked = Counter()

    def landscape(state):
        asked[state] += 1
        return state / 2

    env = RLDFEnv(landscape=landscape, reading=Reading(end="go on"))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        state, reward, *_ = env.step(int(rng.integers(8)))
        assert reward == state / 2
    assert set(asked.values()) == {1}
    assert len(asked) > 100


@pytest.mark.parametrize(
    ("landscape", "message"),
    [
        (np.zeros(479), r"shape \(479,\); this grammar has 480 states"),
        (np.zeros((4, 6, 4, 5)), r"shape \(4, 6, 4, 5\)"),
        (np.where(np.arange(480) == 7, np.nan, 0), r"not finite at states \[7\]"),
        (np.where(np.arange(480) == 8, np.inf, 0), r"not finite at states \[8\]"),
    ],
)
def test_wrong_landscapes(landscape, message):
    with pytest.raises(ValueError, match=message):
        RLDFEnv(landscape=landscape)


def test_a_callable_landscape_must_be_finite_too():
    env = RLDFEnv(landscape=lambda state: float("nan"), start=(0, 0, 0, 0))
    env.reset()
    with pytest.raises(ValueError, match="not finite at state 120, 'a photo of two bananas and no people in a forest': nan"):
        env.step(0)


@pytest.mark.parametrize("value", ["3", None, [1.0], np.zeros(2), 1j])
def test_a_callable_landscape_must_give_numbers(value):
    env = RLDFEnv(landscape=lambda state: value, start=(0, 0, 0, 0))
    env.reset()
    with pytest.raises(ValueError, match="the reward is no number at state 120, 'a photo of two bananas"):
        env.step(0)
    env = RLDFEnv(landscape=lambda state: np.float32(0.5), start=(0, 0, 0, 0))
    env.reset()
    assert env.step(0)[1] == 0.5


def test_what_a_callable_landscape_raises_names_the_state():
    def landscape(state):
        raise KeyError("no such picture")

    env = RLDFEnv(landscape=landscape, start=(0, 0, 0, 0))
    env.reset()
    with pytest.raises(KeyError) as caught:
        env.step(0)
    assert caught.value.__notes__ == ["raised by the reward at state 120, 'a photo of two bananas and no people in a forest'"]


@pytest.mark.parametrize("settings", [{"target": (0, 6, 0, 0)}, {"start": (0, 6, 0, 0)}])
def test_encodings_outside_the_grid(settings):
    with pytest.raises(GrammarError, match="Noun = 6 is outside 0..5"):
        RLDFEnv(**settings)


def test_render_shows_the_state():
    env = gym.make("RLDF-v0", render_mode="rgb_array", start=(1, 2, 3, 4)).unwrapped
    state, _ = env.reset()
    image = env.render()
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert (image == world.render(BASE.decode((1, 2, 3, 4)), state)).all()
    drawn = RLDFEnv(render_mode="rgb_array", start=(0, 0, 0, 4), image=lambda s: np.full((8, 8, 3), s, np.uint8))
    drawn.reset()
    assert (drawn.render() == 4).all()
    silent = RLDFEnv()
    silent.reset()
    with pytest.warns(UserWarning, match="render draws nothing without a render mode"):
        assert silent.render() is None


def test_any_grammar_will_do():
    env = RLDFEnv(grammar="large", target=(0, 0, 0, 0))
    assert (env.observation_space.n, env.action_space.n) == (4320, 8)
    assert env.distance.max() == 3 + 17 + 3 + 14


def test_semantic_landscape_counts_matching_axes():
    landscape = perfect(BASE, TARGET, reading=PRINTED)
    grid = np.array(list(BASE.states()))
    objects = (grid[:, :3] == np.array(TARGET[:3])).sum(1)
    assert (landscape == objects + np.where(grid[:, 3] == TARGET[3], 1, -1)).all()


def test_perceived_landscapes_are_the_perfect_ones_where_perception_is():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(480, 5))
    target = BASE.index(TARGET)
    got = perceived(BASE, list(BASE.states()), embeddings, TARGET, embeddings[target], PRINTED)
    assert (got[1] == perfect(BASE, TARGET, 1, PRINTED)).all()
    assert (got[2] == perfect(BASE, TARGET, rewards.partial_semantic)).all() and (got[2] == perfect(BASE, TARGET, 2, PRINTED)).all()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(got[3], unit @ unit[target], atol=1e-12)
    assert got[3].argmax() == target


def test_perceived_landscapes_follow_what_was_seen_not_the_prompt():
    seen = [TARGET] * 480
    got = perceived(BASE, seen, np.ones((480, 2)), (0, 0, 0, 0), np.array([1.0, -1.0]), PRINTED)
    assert set(got[1]) == {-1.0} and set(got[2]) == {-1.0}
    assert set(got[3]) == {0.0}


LINE = transition_table((7,))
HILLS = np.array([3.0, 1.0, 2.0, 2.0, 1.0, 1.0, 5.0])  # two peaks, a plateau between them, a flat foot of the higher one


def test_optima_by_hand():
    plateau, maximal = optima(HILLS, LINE)
    assert [set(np.flatnonzero(plateau == p).tolist()) for p in np.flatnonzero(maximal)] == [{0}, {2, 3}, {6}]
    assert plateau[4] == plateau[5] and not maximal[plateau[4]]  # state 5 has a higher neighbour


def test_steepest_ascent_by_hand():
    assert ascent(HILLS, LINE).tolist() == [0, 0, 2, 3, 3, 6, 6]


def test_roughness_by_hand():
    got = roughness(HILLS, LINE, distances((7,), (6,)))
    assert got["values"] == 4 and got["optima"] == 3 and got["on_optima"] == 4 / 7
    assert got["changes"] == 8 / 12, "of six pairs of neighbours, two pay the same"
    assert got["target_basin"] == 2 / 7 and got["largest_basin"] == 2 / 7
    ranks, near = np.array([6, 2, 4.5, 4.5, 2, 2, 7]), np.arange(7.0)  # Spearman is Pearson on mid-ranks
    assert got["rank_correlation"] == pytest.approx(np.corrcoef(ranks, near)[0, 1], abs=1e-12)


def test_a_flagged_picture_shows_nothing_in_a_landscape():
    small = grammar.load("smoke")
    states = list(small.states())
    percepts = [SimpleNamespace(encoding=state) for state in states]  # CLIP reads every sentence into its picture
    flagged = {(small.surface(states[5]), 7): "blackened", (small.surface(states[6]), 8): "of another draw"}
    seen = landscapes.seen(percepts, small.sentences, flagged, 7)
    assert (seen[5] == -1).all() and np.array_equal(np.delete(seen, 5, 0), np.delete(np.array(states), 5, 0))
    assert landscapes.shown(small, seen[5]) == dict.fromkeys(small.axes, "")
    embeddings = np.eye(len(states))
    found = perceived(small, [tuple(s) for s in seen], embeddings, states[5], embeddings[5], PRINTED)
    assert found[1].argmax() != 5 and found[1][5] == -1, "no element matches, nor does the scene"
    assert found[2][5] == -1 and found[3][5] == 0


def test_distance_as_a_landscape_is_one_hill():
    env = RLDFEnv(target=TARGET)
    got = roughness(-env.distance.astype(float), env.transitions, env.distance)
    assert (got["optima"], got["target_basin"]) == (1, 1.0) and got["rank_correlation"] == pytest.approx(1)


def test_every_state_is_its_own_optimum_or_climbs():
    values = np.random.default_rng(0).normal(size=480)
    table = transition_table(BASE.shape)
    plateau, maximal = optima(values, table)
    peaks = np.flatnonzero((values[table] <= values[:, None]).all(1))
    assert len(set(plateau)) == 480 and maximal.sum() == len(peaks)  # no two values are equal
    assert set(ascent(values, table)) == set(peaks)


def test_moving_seeds_show_every_row_of_a_landscape():
    env = RLDFEnv(landscape=np.stack([np.arange(480), 1000 + np.arange(480)]), reading=Reading(end="go on"))
    env.reset(seed=0)
    rows = [int(reward - state) for state, reward, *_ in (env.step(0) for _ in range(300))]
    assert set(rows) == {0, 1000} and 110 < rows.count(0) < 190
    assert (env.reward(7, draw=0), env.reward(7, draw=1)) == (7, 1007)


def test_unrealistic_states_end_the_episode_and_cost():
    bad = np.zeros(480, bool)
    bad[BASE.index(NEIGHBOUR)] = True
    for landscape in (None, lambda state: 5.0):
        env = RLDFEnv(target=TARGET, start=TARGET, landscape=landscape, unrealistic=bad, penalty=-7.0)
        env.reset()
        back = int(np.flatnonzero(env.transitions[env.target] == BASE.index(NEIGHBOUR))[0])
        assert env.step(back)[1:3] == (-7.0, True)
    with pytest.raises(ValueError, match=r"shape \(480,\) and be false at the target"):
        RLDFEnv(target=TARGET, unrealistic=np.ones(480, bool))
    with pytest.raises(ValueError, match=r"shape \(480,\)"):
        RLDFEnv(target=TARGET, unrealistic=bad[:7])


def saved(path, **changes):
    """A landscape.npz as notebook 2 writes it, for the smallest world, with one input."""
    states = np.array(list(grammar.load("smoke").states()))
    embeddings = np.random.default_rng(0).normal(size=(2, 24, 8))
    smoke = grammar.load("smoke")
    whole = {"grammar_text": smoke.text, "grammar_name": smoke.name, "seen": np.stack([states, states[::-1]]), "embeddings": embeddings,
             "inputs": ["one"], "targets": [(1, 1, 1, 1)], "target_embeddings": embeddings[0, 5:6]}  # fmt: skip
    np.savez(path, **{key: value for key, value in (whole | changes).items() if value is not None})
    return path


def test_pictures_of_the_other_draw_serve_as_inputs(tmp_path):
    path = saved(tmp_path / "landscape.npz")
    held = np.load(path)
    for draw in (0, 1):
        g, seen, targets, values = load_landscape(path, draw, inputs=30)
        assert len(targets) == len(values) == 30
        for name, target in targets.items():
            state = int(name.split(": ")[1])
            assert target == tuple(held["seen"][1 - draw, state])
            a, b = held["embeddings"][draw, 7], held["embeddings"][1 - draw, state]
            assert values[name][3][7] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b) - 1)


def test_load_landscapes(tmp_path):
    path = saved(tmp_path / "landscape.npz")
    smoke, seen, targets, landscapes = load_landscape(path)
    assert (smoke.size, targets, list(landscapes)) == (24, {"one": (1, 1, 1, 1)}, ["one"])
    assert (landscapes["one"][1] == perfect(smoke, (1, 1, 1, 1))).all() and landscapes["one"][3].argmax() == 5
    again = load_landscape(path, draw=1)
    assert (again[1] == seen[::-1]).all() and (again[3]["one"][1] == landscapes["one"][1][::-1]).all()


def test_a_vocabulary_of_ones_own_comes_back_whole(tmp_path):
    """Nouns that no file has, an apostrophe, an accent: the text holds all of it."""
    g = grammar.load("smoke", ["king's crown/king's crowns", "crêpe/crêpes", "AC\\/DC"])
    path = saved(tmp_path / "landscape.npz", grammar_text=g.text, grammar_name=g.name)
    loaded = load_landscape(path)[0]
    assert loaded == g and loaded.axes["Noun"] == ("king's crown", "crêpe", "AC/DC") and loaded.name == "smoke"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": None, "inputs": None}, "has no embeddings, inputs: it is from another version; run notebook 2 again"),
        (
            {"grammar_text": None, "grammar_name": None, "grammar": "/elsewhere/data/grammar/base.cfg"},
            "has no grammar_text, grammar_name: it is from another version; run notebook 2 again",
        ),
        ({"grammar_text": BASE.text, "grammar_name": "base"}, r"holds 24 states, the grammar base has 480; run notebook 2 again"),
        ({"target_embeddings": np.full((1, 8), np.nan)}, "embeddings that are not finite; run notebook 2 again"),
        ({"inputs": np.array([{"code": 1}], object)}, "cannot be read as a landscape.npz .*allow_pickle=False.*; run notebook 2 again"),
    ],
)
def test_a_landscape_of_another_version_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_landscape(saved(tmp_path / "landscape.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_a_damaged_landscape_is_refused(tmp_path, content):
    path = tmp_path / "landscape.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a landscape.npz .*; run notebook 2 again"):
        load_landscape(path)
    with pytest.raises(FileNotFoundError, match="absent.npz; run notebook 2 again"):
        load_landscape(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match="draw = 2 is not legal; choose an integer, from 0 to 1"):
        load_landscape(path, draw=2)


def test_the_committed_landscape_is_read_in_a_clone_in_another_folder(tmp_path):
    """Only the package, the grammars and notebook 2's results are there, and nothing ran."""
    clone, elsewhere = tmp_path / "another clone", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for part in ("rldf_utils", "data/grammar", "results/tiny/02_environment_design"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    code = """
import rldf_utils
from rldf_utils import results
from rldf_utils.landscape import load as load_landscape
path = results.upstream("tiny", "02_environment_design", "landscape.npz")
grammar, seen, targets, landscapes = load_landscape(path)
print(rldf_utils.__path__[0], grammar.name, grammar.size, seen.shape, *targets, sep="\\n")
moved = load_landscape(path, draw=1)[3]
assert all(landscape.shape == (480,) for world in (landscapes, moved) for kinds in world.values() for landscape in kinds.values())
"""
    environment = {"PYTHONPATH": str(clone), "PATH": "/usr/bin:/bin", "HOME": str(elsewhere)}
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    inputs = ["1_agriculture", "2_retail", "3_sports", "4_transport", "5_pets", "6_zoology"]
    assert done.stdout.split("\n")[:-1] == [str(clone / "rldf_utils"), "base", "480", "(480, 4)", *inputs]


def bellman(env: RLDFEnv, gamma: float) -> np.ndarray:
    """Q* by repeated backups, one state and action at a time: the second implementation."""
    q = np.zeros((env.grammar.size, env.action_space.n))
    for _ in range(200):
        for state, action in np.ndindex(q.shape):
            arrived = env.transitions[state, action]
            rest = 0.0 if env.ends[arrived] else gamma * q[arrived].max()
            q[state, action] = np.mean([env.reward(arrived, d) for d in range(len(env.rewards))]) + rest
    return q


@pytest.mark.parametrize("settings", [{}, {"reading": Reading(end="go on")}, {"reading": Reading(bonus=20)}, {"landscape": "moving"}])
def test_optimal_q(settings):
    smoke = grammar.load("smoke")
    if "landscape" in settings:
        settings = {"landscape": np.random.default_rng(0).normal(size=(3, 24)), "unrealistic": np.arange(24) == 5}
    env = RLDFEnv(smoke, target=(1, 1, 1, 1), **settings)
    np.testing.assert_allclose(env.optimal_q(0.8), bellman(env, 0.8), atol=1e-9)


@pytest.mark.parametrize("gamma", [-0.1, 1, 1.5, float("nan")])
def test_value_iteration_needs_a_discount_below_one(gamma):
    with pytest.raises(ValueError, match="gamma"):
        RLDFEnv("smoke").optimal_q(gamma)
    with pytest.raises(ValueError, match="the landscape as an array"):
        RLDFEnv("smoke", landscape=lambda state: 0.0).optimal_q(0.9)


def test_around_states_are_the_nearest_that_are_not_known():
    def next_to(state):
        return successors(np.array([state]), (10,))[0]

    assert around([2, 7], next_to, {1}, 5) == [2, 7, 3, 8, 6]
    assert around([2, 7], next_to, {}, 2) == [2, 7]
    assert sorted(around([2], next_to, {}, 99)) == list(range(10)), "no more than there are"
