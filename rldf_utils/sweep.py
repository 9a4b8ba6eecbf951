"""Table 3's sweep as data: 18 settings, many seeds, one tidy row a run."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd

from rldf_utils import agents, cluster
from rldf_utils.agents import QLearning
from rldf_utils.arguments import integer
from rldf_utils.compiled import Seeds, many, run
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import TABLE_STATES, Encoding, Grammar, grid
from rldf_utils.progress import Bar
from rldf_utils.readings import DEFAULT, Reading
from rldf_utils.results import choose
from rldf_utils.rewards import object_axes, scene_axis

SETTINGS = tuple(
    {"agent": agent, "reward": reward, "epsilon": epsilon}
    for agent in ("Q", "Random", "SARSA")
    for reward in (1, 2, 3)
    for epsilon in (0.01, 0.10)
)  #: the rows of Table 3, in its order
STEPS = 100  #: steps per run (section 3.1)
PART = 250  #: runs that are made together


def statistics(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray, seen: np.ndarray, target: Encoding) -> dict[str, np.ndarray]:
    """Table 3's columns, each (runs,).

    Distances are L1 on axis indices after each step: last (D_f), largest, smallest, standard deviation (rho) and
    variance over the steps. conv counts arrivals at the target; f_semantic and c_semantic count the steps whose image
    was seen to show the target's object (Noun, or the first of `rewards.object_axes`) and scene (`rewards.scene_axis`).

    Args:
        states, rewards: of every step, (runs, steps).
        seen: perceived encodings of all states, int (states, axes).
        target: the input's perceived encoding.

    Raises:
        ValueError: `seen` has another shape.
    """
    distance, axes = env.distance[states], list(env.grammar.axes)
    if np.shape(seen) != (env.grammar.size, len(axes)):
        raise ValueError(f"seen must be the encodings of all states, {(env.grammar.size, len(axes))}, not of shape {np.shape(seen)}")
    thing, scene = (axes.index(axis) for axis in (object_axes(axes)[0], scene_axis(axes)))
    matches = np.asarray(seen) == np.array(target)
    return {
        "D_f": distance[:, -1], "D_max": distance.max(1), "D_min": distance.min(1),
        "rho": distance.std(1), "sigma2": distance.var(1), "conv": (distance == 0).sum(1),
        "f_semantic": matches[states, thing].sum(1), "c_semantic": matches[states, scene].sum(1),
        "return": rewards.sum(1),
    }  # fmt: skip


def runs(env: RLDFEnv, setting: Mapping, seeds: Sequence[int], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """One setting with many seeds: the states after each step and the rewards, each (seeds, steps).

    A run's random numbers depend on its seed alone, so neither the order nor the grouping of runs matters.

    Args:
        setting: agent ("Q", "SARSA" or "Random") and epsilon; other entries are not looked at.

    Raises:
        ValueError: a setting without one of the two or with an illegal value, no seeds, a negative one, or steps below 1.
    """
    if missing := {"agent", "epsilon"} - set(setting):
        raise ValueError(f"the setting {dict(setting)} has no {' and no '.join(sorted(missing))}")
    integer("number of seeds", len(seeds), least=1)
    steps, parts = integer("steps", steps, least=1), [tuple(seeds[i : i + PART]) for i in range(0, len(seeds), PART)]
    found = [many(env, setting["agent"], setting["epsilon"], _seeds(part, *env.transitions.shape, steps)) for part in parts]
    return tuple(map(np.concatenate, zip(*found, strict=True)))


@lru_cache(maxsize=4)
def _seeds(seeds: tuple[int, ...], states: int, actions: int, steps: int) -> Seeds:
    """What the seeds draw, kept for the next setting."""
    return Seeds(seeds, states, actions, steps)


def reached(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Whether a run of `runs` was ever at the target, bool (runs,)."""
    return (states == env.target).any(1)


def nearest(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """The smallest distance to the target of each run, (runs,)."""
    return env.distance[states].min(1)


def looping(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Share of steps that lead back to where the agent was two steps before, (runs,); 0 in runs of one or two steps."""
    return (states[:, 2:] == states[:, :-2]).sum(1) / max(states.shape[1] - 2, 1)


def gain_past_goal(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """How much the best reward still rises after the first arrival at the target, (runs,); 0 without arrival."""
    arrived = np.maximum.accumulate(states == env.target, axis=1)
    before = np.where(arrived, -np.inf, rewards).max(1)
    first = rewards[np.arange(len(states)), arrived.argmax(1)]
    return np.where(arrived[:, -1], rewards.max(1) - np.maximum(before, first), 0.0)


def growth(shape: tuple[int, ...], setting: Mapping, seeds: Sequence[int], cap: int, reading: Reading = DEFAULT) -> pd.DataFrame:
    """The first search in a world of any shape, on its perfect landscape (reward 1, the last axis being the scene).

    Returns:
        One row per seed, which draws the start: states, agent, seed, steps until the first arrival (`cap` if there is
        none), arrived, calls (different states seen until then), table_mb (the Q table, float64).

    Raises:
        ValueError: more than two million states, or a value out of range.
    """
    grammar, cap = grid(shape).limited(TABLE_STATES, "a table of them"), integer("cap", cap, least=1)
    target = tuple(2 * n // 3 for n in shape)
    match = np.indices(shape).reshape(len(shape), -1) == np.array(target)[:, None]
    values = match[:-1].sum(0) + np.where(match[-1], reading.c_s, -reading.c_s)
    env = RLDFEnv(grammar, target, values - values.max() * (reading.offset == "cost"), max_steps=cap, reading=reading)
    rows = []
    for seed in seeds:
        steps, arrived = 0, 0
        while not arrived and steps < cap:
            steps = min(max(3 * steps, 1000), cap)  # the same trajectory once more, but longer
            agent = agents.make(setting["agent"], env, setting["epsilon"], seed=seed)
            states = run(env, agent, steps, seed).states
            arrived = int((states == env.target).argmax()) + 1 if (states == env.target).any() else 0
        steps = arrived or cap
        rows.append({"states": grammar.size, "agent": setting["agent"], "seed": seed, "steps": steps, "arrived": bool(arrived),
                     "calls": len(np.unique(states[:steps])), "table_mb": agent.q.nbytes / 1e6})  # fmt: skip
    return pd.DataFrame(rows)


def optimal_return(env: RLDFEnv, episodes: int, gamma: float = DEFAULT.gamma) -> tuple[float, float]:
    """(mean reward a step, share of episodes that reach the target) of the greedy policy of Q*, from random starts."""
    agent = QLearning(*env.transitions.shape, epsilon=0, alpha=0, gamma=gamma)
    agent.q[:] = env.optimal_q(gamma)
    trajectory = run(env, agent, integer("episodes", episodes, least=1) * env.max_steps)
    return float(trajectory.rewards.mean()), float((trajectory.states == env.target).sum() / len(trajectory.starts))


def convergence(env: RLDFEnv, step_sizes: Mapping[str, float | None], steps: int, seed: int = 0) -> pd.DataFrame:
    """The sup-norm distance of Q-learning's Q to Q* as it learns, with uniform exploration.

    Args:
        step_sizes: label -> omega of the step size 1 / N^omega, or None for the constant alpha.
        steps: at most, 10 or more; the distance is taken some eight times a decade from 10 on.

    Returns:
        One row a measurement: step_size (label), steps, error. States that end an episode are left out: nothing is
        learnt about leaving them.
    """
    integer("steps", steps, least=10)
    marks = np.unique(np.logspace(1, np.log10(steps), 1 + round(8 * np.log10(steps / 10))).astype(int))
    best, rows = env.optimal_q(DEFAULT.gamma)[~env.ends], []
    for name, omega in step_sizes.items():
        agent = QLearning(*env.transitions.shape, epsilon=1, omega=omega, seed=seed)
        for k, (before, mark) in enumerate(pairwise([0, *marks])):
            run(env, agent, mark - before, seed + k)
            rows.append({"step_size": name, "steps": mark, "error": np.abs(agent.q[~env.ends] - best).max()})
    return pd.DataFrame(rows)


def _part(task: tuple) -> tuple[pd.DataFrame, np.ndarray]:
    grammar, target, landscape, seen, setting, seeds, steps, environment = task
    env = RLDFEnv(grammar, target, landscape, **environment)
    states, rewards = runs(env, setting, seeds, steps)
    table = pd.DataFrame(statistics(env, states, rewards, seen, target))
    return table.assign(**setting, seed=list(seeds)), env.distance[states].astype(np.int16)


def sweep(grammar: Grammar, landscapes: Mapping[int, np.ndarray], seen: np.ndarray, target: Encoding, seeds: Sequence[int],
          steps: int = STEPS, settings: Sequence[Mapping] = SETTINGS, address: str = "", progress: str | None = "sweep",
          **environment) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:  # fmt: skip
    """Run every setting with every seed.

    Args:
        landscapes: reward number -> reward of every state, as of `landscape.perceived`.
        seen, target: see `statistics`.
        address: "" for this process; "local" or a cluster's address for Ray (extra `ray`), with the same result.
        progress: label of a progress bar; None shows none.
        environment: further arguments of `RLDFEnv`, such as reading and start.

    Returns:
        (runs, curves): runs has one row a run (setting, seed and `statistics`); curves maps the number of a setting to
        the distances after each step, int16 (seeds, steps).

    Raises:
        ValueError: no settings or seeds, an unknown agent, a reward without a landscape, or a number out of range.
    """
    if not len(settings) or not len(seeds):
        raise ValueError(f"{len(settings)} settings and {len(seeds)} seeds make no run; give at least one of each")
    for setting in settings:
        choose("reward", setting["reward"], landscapes)
        choose("agent", setting["agent"], agents.AGENTS)
    chunks = [seeds[i : i + PART] for i in range(0, len(seeds), PART)]
    tasks = [(grammar, target, landscapes[s["reward"]], seen, s, chunk, steps, environment) for s in settings for chunk in chunks]
    tables, parts = [], {number: [] for number in range(len(settings))}
    with Bar(total=len(settings) * len(seeds), desc=progress, unit="run", disable=progress is None) as bar:
        for i, (table, curves) in enumerate(cluster.over(_part, tasks, address)):
            tables.append(table)
            parts[i // len(chunks)].append(curves)
            bar.update(len(table))
    table = pd.concat(tables, ignore_index=True)
    names = [*settings[0], "seed"]
    return table[names + [c for c in table if c not in names]], {number: np.concatenate(part) for number, part in parts.items()}


def summary(runs: pd.DataFrame, steps: int) -> pd.DataFrame:
    """One row per setting: the means over all runs of reached (share), D_f and reward per step, each with half its 95 % interval."""
    measures = {"reached": runs["conv"] > 0, "D_f": runs["D_f"], "reward per step": runs["return"] / steps}
    grouped = pd.DataFrame(measures, dtype=float).groupby([runs[name] for name in SETTINGS[0]], sort=False)
    mean, half = grouped.mean(), 1.96 * grouped.sem()
    return pd.DataFrame({name: column for m in measures for name, column in ((m, mean[m]), (f"{m} ±", half[m]))})
