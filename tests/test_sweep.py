"""Table 3's sweep: the settings, the statistics by hand, and independence of the runs."""

import sys

import numpy as np
import pandas as pd
import pytest

from rldf_utils import agents, rewards, sweep
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import from_text, grid, load
from rldf_utils.landscape import perfect
from rldf_utils.readings import PRINTED, Reading

BASE = load("base")
TARGET = (1, 2, 1, 2)
SEEN = np.array(list(BASE.states()))


@pytest.fixture(scope="module")
def rough():
    """Landscapes with the rewards' three characters, and values that differ everywhere for the third."""
    steps = perfect(BASE, TARGET)
    return {1: steps, 2: np.sign(steps), 3: np.random.default_rng(0).normal(size=480)}


@pytest.fixture(scope="module")
def landscapes():
    return {kind: perfect(BASE, TARGET) for kind in (1, 2, 3)}


def test_settings_are_the_rows_of_table_3():
    assert len(sweep.SETTINGS) == 18 == len({tuple(s.values()) for s in sweep.SETTINGS})
    assert sweep.SETTINGS[0] == {"agent": "Q", "reward": 1, "epsilon": 0.01}
    assert sweep.SETTINGS[-1] == {"agent": "SARSA", "reward": 3, "epsilon": 0.10}


def test_statistics_by_hand():
    env = RLDFEnv(BASE, TARGET)
    path = [BASE.index(e) for e in ((1, 2, 1, 4), (1, 2, 1, 3), (1, 2, 1, 2), (0, 2, 1, 2))]  # distances 2 1 0 1
    walks = np.array([path, path[::-1]]), np.array([[0.0, 1.0, 2.0, 1.0]] * 2)
    table = pd.DataFrame(sweep.statistics(env, *walks, SEEN, TARGET))
    row = table.iloc[0]
    assert (row["D_f"], row["D_max"], row["D_min"], row["conv"]) == (1, 2, 0, 1)
    assert row["rho"] == pytest.approx(0.5**0.5) and row["sigma2"] == pytest.approx(0.5)
    assert (row["f_semantic"], row["c_semantic"], row["return"]) == (4, 2, 4.0)
    assert table["D_f"].tolist() == [1, 2]


ENVIRONMENTS = {
    "plain": {},
    "past the goal": {"reading": Reading(end="go on")},
    "moving seeds": {"landscape": np.random.default_rng(5).normal(size=(3, 480))},
    "unrealistic states": {"unrealistic": np.arange(480) % 50 == 7, "reading": Reading(bonus=3.0)},
    "one start": {"start": (0, 0, 0, 0)},
}


def same(env, kind, steps, **settings):
    """Asserts that the plain and the compiled loop agree in everything."""
    plain, compiled = (kind(env.grammar.size, env.action_space.n, **settings) for _ in range(2))
    wanted, got = agents.run(env, plain, steps, seed=4), sweep.run(env, compiled, steps, seed=4)
    for name in ("states", "actions", "rewards", "episodes", "starts"):
        assert (getattr(wanted, name) == getattr(got, name)).all(), name
    assert (plain.q == compiled.q).all() and (plain.visits == compiled.visits).all()
    assert plain.rng.random() == compiled.rng.random(), "the streams stand where they stood"


@pytest.mark.parametrize("setting", sweep.SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_the_compiled_loop_follows_the_plain_agents_step_for_step(setting, rough):
    env = RLDFEnv(BASE, TARGET, rough[setting["reward"]], max_steps=60)
    same(env, agents.AGENTS[setting["agent"]], 1000, epsilon=setting["epsilon"], seed=9)


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("kind", agents.AGENTS)
def test_the_compiled_loop_knows_every_kind_of_environment(name, kind):
    same(RLDFEnv(BASE, TARGET, max_steps=37, **ENVIRONMENTS[name]), agents.AGENTS[kind], 1500, omega=0.7, epsilon=0.2, seed=2)


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_the_compiled_loop_breaks_ties_alike(epsilon):
    """With Q = 0 everywhere and no reward, every choice is a tie."""
    env = RLDFEnv(BASE, TARGET, np.zeros(480), max_steps=50)
    for kind in (agents.QLearning, agents.Sarsa):
        plain, compiled = kind(480, 8, epsilon, seed=1), kind(480, 8, epsilon, seed=1)
        plain.q[:] = compiled.q[:] = 0
        wanted, got = agents.run(env, plain, 2000), sweep.run(env, compiled, 2000)
        assert (wanted.actions == got.actions).all() and len(set(got.actions.tolist())) == 8


def test_the_compiled_loop_refuses_what_it_cannot_follow():
    with pytest.raises(ValueError, match="a function's rewards"):
        sweep.run(RLDFEnv(BASE, TARGET, lambda state: 0.0), agents.Random(480, 8), 10)

    class Other(agents.QLearning):
        pass

    with pytest.raises(ValueError, match="agents.run for Other"):
        sweep.run(RLDFEnv(BASE, TARGET), Other(480, 8), 10)
    with pytest.raises(ValueError, match=r"an agent of \(24, 8\) states and actions cannot walk Discrete\(480\)"):
        sweep.run(RLDFEnv(BASE, TARGET), agents.QLearning(24, 8), 10)
    with pytest.raises(ValueError, match="steps = 0 is not legal; choose an integer, 1 or more"):
        sweep.run(RLDFEnv(BASE, TARGET), agents.QLearning(480, 8), 0)


@pytest.mark.parametrize("axes", [("Noun",), ("Frequency", "Scene"), ("Thing", "When", "Place"), ("A", "B", "C", "D", "E")])
def test_a_sweep_in_a_world_of_any_axes(axes):
    """f_semantic and c_semantic count on the axes that `rewards` looks at, whatever they are called."""
    rules = "\n".join(f"{axis} -> " + " | ".join(f"'{axis}{i}'" for i in range(3)) for axis in axes)
    world = from_text(f"S -> {' '.join(axes)}\n{rules}")
    seen, target = np.array(list(world.states())), (1,) * len(axes)
    landscape = perfect(world, target)
    table, curves = sweep.sweep(world, {1: landscape, 2: landscape, 3: landscape}, seen, target, range(3), steps=20)
    assert len(table) == 54 and not table.isna().any().any() and (table["D_max"] <= len(axes)).all()
    env = RLDFEnv(world, target, max_steps=20)
    states, paid = sweep.runs(env, sweep.SETTINGS[0], range(3), 20)
    table = sweep.statistics(env, states, paid, seen, target)
    thing, scene = (axes.index(a) for a in (rewards.object_axes(axes)[0], rewards.scene_axis(axes)))
    assert table["f_semantic"].tolist() == (seen[states][..., thing] == 1).sum(1).tolist()
    assert table["c_semantic"].tolist() == (seen[states][..., scene] == 1).sum(1).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "18 settings and 0 seeds make no run"),
        ({"seeds": [-1]}, "seed = -1 is not legal; choose an integer, 0 or more"),
        ({"seeds": [0.5]}, "seed = 0.5 is not legal"),
        ({"settings": []}, "0 settings and 1 seeds make no run"),
        ({"settings": [{"agent": "DQN", "reward": 1, "epsilon": 0.1}]}, "agent = 'DQN' is not known; choose one of 'Q', 'SARSA', 'Random'"),
        ({"settings": [{"agent": "Q", "reward": 4, "epsilon": 0.1}]}, "reward = 4 is not known; choose one of 1, 2, 3"),
        ({"settings": [{"agent": "Q", "reward": 1, "epsilon": 7}]}, "epsilon = 7 is not legal; choose a number from 0 to 1"),
        ({"settings": [{"agent": "Q", "reward": 1}]}, "has no epsilon"),
        ({"seen": SEEN[:, :3]}, r"seen must be the encodings of all states, \(480, 4\), not of shape \(480, 3\)"),
        ({"steps": 0}, "steps = 0 is not legal; choose an integer, 1 or more"),
    ],
)
def test_sweeps_out_of_range_are_named(landscapes, change, message):
    with pytest.raises(ValueError, match=message):
        sweep.sweep(**({"grammar": BASE, "landscapes": landscapes, "seen": SEEN, "target": TARGET, "seeds": [0], "steps": 5} | change))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sweep.growth((2000, 2000), sweep.SETTINGS[0], [0], 10), "the grammar grid has 4,000,000 states"),
        (lambda: sweep.growth((3, 3), sweep.SETTINGS[0], [0], 0), "cap = 0 is not legal"),
        (lambda: sweep.convergence(RLDFEnv("smoke"), {"0.1": None}, 9), "steps = 9 is not legal; choose an integer, 10 or more"),
        (lambda: sweep.optimal_return(RLDFEnv("smoke"), 0), "episodes = 0 is not legal"),
    ],
)
def test_measures_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_run_depends_on_its_setting_and_seed_alone(landscapes):
    together, curves = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(3), steps=30)
    alone, _ = sweep.sweep(BASE, landscapes, SEEN, TARGET, [2], steps=30, settings=sweep.SETTINGS[4:5])
    columns = list(alone.columns)
    same = together.merge(alone, on=columns)
    assert len(same) == 1 and len(together) == 54 and curves[17].shape == (3, 30)
    assert together[together["agent"] == "Random"].groupby("seed")["return"].nunique().eq(1).all()


def test_seeds_matter(landscapes):
    runs, _ = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(10), steps=30, settings=sweep.SETTINGS[:1])
    assert runs["return"].nunique() > 3


def test_runs_do_not_depend_on_their_grouping(landscapes):
    """More seeds than a task holds: the runs are those of the same seeds one by one."""
    setting = sweep.SETTINGS[:1]
    many, curves = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(300), steps=5, settings=setting)
    few, part = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(240, 260), steps=5, settings=setting)
    assert (many.iloc[240:260].to_numpy() == few.to_numpy()).all() and (curves[0][240:260] == part[0]).all()


def test_ray_on_two_nodes_gives_the_same_sweep(landscapes, two_nodes):
    ray = pytest.importorskip("ray")
    task = (BASE, landscapes, SEEN, TARGET, range(300))
    here, curves = sweep.sweep(*task, steps=20, settings=sweep.SETTINGS[:2])
    there, others = sweep.sweep(*task, steps=20, settings=sweep.SETTINGS[:2], address=two_nodes.address)
    assert not ray.is_initialized(), "what the sweep began, it ends"
    pd.testing.assert_frame_equal(here, there)
    assert all((curves[k] == others[k]).all() for k in curves)


def test_without_ray_an_address_is_refused(landscapes, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match="RAY_ADDRESS = 'local' needs Ray, which is not installed: make ray"):
        sweep.sweep(BASE, landscapes, SEEN, TARGET, range(2), steps=5, address="local")


def test_steps_to_the_goal_grow_with_the_world():
    """In the smallest world the numbers can be read off the trajectory itself."""
    rows = sweep.growth((2, 3, 2, 2), {"agent": "Random", "epsilon": 0.1}, range(5), cap=3000)
    assert rows["arrived"].all() and (rows["states"] == 24).all() and np.allclose(rows["table_mb"], 24 * 8 * 8 / 1e6)
    env = RLDFEnv(grid((2, 3, 2, 2)), (1, 2, 1, 1), np.zeros(24), max_steps=3000)
    for row in rows.itertuples():
        states = agents.run(env, agents.Random(24, 8, seed=row.seed), 3000, row.seed).states
        first = int((states == env.target).argmax())
        assert (row.steps, row.calls) == (first + 1, len(set(states[: first + 1].tolist())))
    short = sweep.growth((4, 6, 4, 5), {"agent": "Random", "epsilon": 0.1}, range(5), cap=3)
    assert (short["steps"] == 3).all() and not short["arrived"].any()


def test_measures_by_hand():
    env = RLDFEnv(BASE, TARGET)
    away, near, goal = (BASE.index(e) for e in ((1, 2, 1, 4), (1, 2, 1, 3), TARGET))
    states = np.array([[away, near, goal, near], [away, near, away, near]])
    paid = np.array([[0.0, 1.0, 2.0, 2.5], [0.0, 9.0, 0.0, 9.0]])
    assert sweep.reached(env, states, paid).tolist() == [True, False]
    assert sweep.nearest(env, states, paid).tolist() == [0, 1]
    assert sweep.looping(env, states, paid).tolist() == [0.5, 1]
    assert sweep.looping(env, states[:, :1], paid[:, :1]).tolist() == [0, 0], "one step does not loop"
    assert sweep.gain_past_goal(env, states, paid).tolist() == [0.5, 0]
    assert sweep.gain_past_goal(env, states, np.array([[3.0, 1.0, 2.0, 2.5]] * 2)).tolist() == [0, 0], "3 was found before the goal"


def test_the_optimal_policy_is_the_best_and_may_not_arrive():
    """As printed it pays to stay near the target, since an arrival ends the rewards; a bonus, or a cost per step, sends it there."""
    near = RLDFEnv(BASE, TARGET, max_steps=100, reading=PRINTED)
    value, arrives = sweep.optimal_return(near, episodes=40)
    assert arrives == 0 and 2.8 < value <= 3
    states, rewards = sweep.runs(near, {"agent": "Q", "epsilon": 0.1}, range(20), 100)
    assert rewards.mean() < value
    assert sweep.optimal_return(RLDFEnv(BASE, TARGET, max_steps=100, reading=Reading(offset="printed", bonus=100)), episodes=40)[1] == 1
    assert sweep.optimal_return(RLDFEnv(BASE, TARGET, max_steps=100), episodes=40)[1] == 1


def test_convergence_falls_where_the_theorem_says():
    env = RLDFEnv(load("smoke"), (1, 1, 1, 1), max_steps=50)
    table = sweep.convergence(env, {"constant": None, "1/N^0.6": 0.6}, 200_000).set_index("step_size")
    for name in ("constant", "1/N^0.6"):
        errors = table.loc[name, "error"].to_numpy()
        assert errors[0] > 8 and errors[-1] < 0.5 and table.loc[name, "steps"].iloc[-1] == 200_000
