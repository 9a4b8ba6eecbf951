"""Table 3's sweep as data: 18 settings, many seeds, one tidy row a run; and the compiled loop that makes it quick."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numba import njit
from tqdm import tqdm

from rldf_utils import cluster
from rldf_utils.agents import AGENTS, GAMMA, Agent, QLearning, Random, Sarsa, Trajectory
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Encoding, Grammar, grid

SETTINGS = tuple(
    {"agent": agent, "reward": reward, "epsilon": epsilon}
    for agent in ("Q", "Random", "SARSA")
    for reward in (1, 2, 3)
    for epsilon in (0.01, 0.10)
)  #: the rows of Table 3, in its order
STEPS = 100  #: steps a run (section 3.1)


@njit(inline="always")
def _best(row):
    """Largest value of a row, how often it occurs, and where first."""
    top, ties, first = row[0], 1, 0
    for a in range(1, len(row)):
        if row[a] > top:
            top, ties, first = row[a], 1, a
        else:
            ties += row[a] == top
    return top, ties, first


@njit(inline="always")
def _choose(u, row, best, epsilon):
    """`Agent.select_action`, given its uniform number and the row's `_best`."""
    if u < epsilon:
        return int(u / epsilon * len(row))
    top, ties, action = best
    if ties > 1:
        skip = min(int((u - epsilon) / (1 - epsilon) * ties), ties - 1)
        while skip:
            action += 1
            skip -= row[action] == top
    return action


@njit(cache=True, error_model="numpy")
def _loop(
    kind, q, visits, uniforms, env_rng, transitions, rewards, ends, target, start, epsilon, alpha, gamma, omega, max_steps, out, paid
):
    """`agents.run` on `RLDFEnv`; fills out[:, step] with state, action and episode, and paid[step] with the reward.

    Returns the starts, and how many of the agent's uniform numbers it used.
    """
    states, actions, episodes = out[0], out[1], out[2]
    starts = []
    state, action, t, used, ended = 0, -1, 0, 0, True
    best = _best(q[0])
    for step in range(len(states)):
        if ended:
            state = start
            if start < 0:
                state = int(env_rng.random() * (len(q) - 1))
                state += state >= target
            starts.append(state)
            action, t = -1, 0
            best = _best(q[state])
        if action < 0:
            action = int(uniforms[used] * q.shape[1]) if kind == 2 else _choose(uniforms[used], q[state], best, epsilon)
            used += 1
        arrived, following, draw = transitions[state, action], -1, 0
        if len(rewards) > 1:
            draw = int(env_rng.random() * len(rewards))
        reward = rewards[draw, arrived]
        t += 1
        ended = ends[arrived]
        if kind != 2:
            best = _best(q[arrived])
            value = 0.0
            if not ended:
                value = best[0]
                if kind == 1:
                    following = _choose(uniforms[used], q[arrived], best, epsilon)
                    used += 1
                    value = q[arrived, following]
            if omega > 0:
                visits[state, action] += 1
                alpha = visits[state, action] ** -omega
            q[state, action] += alpha * (reward + gamma * value - q[state, action])
            if arrived == state:
                best = _best(q[state])
        states[step], actions[step], episodes[step], paid[step] = arrived, action, len(starts) - 1, reward
        ended = ended or t >= max_steps
        state, action = arrived, following
    return starts, used


def run(env: RLDFEnv, agent: Agent, steps: int, seed: int = 0) -> Trajectory:
    """The compiled twin of `agents.run`: the same arguments, trajectory and Q, some hundred times as fast.

    Raises:
        ValueError: an environment whose landscape is a function, or an agent that is not one of the three.
    """
    if env.rewards is None:
        raise ValueError("the compiled loop needs the landscape as an array; a function's rewards come one by one: use agents.run")
    if type(agent) not in (QLearning, Sarsa, Random):
        raise ValueError(f"the compiled loop knows {', '.join(AGENTS)}; use agents.run for {type(agent).__name__}")
    out, rewards = np.empty((3, steps), np.int32), np.empty(steps)
    generator, before = agent.rng, agent.rng.bit_generator.state
    uniforms = generator.random(steps + steps // env.max_steps + 1)  # SARSA draws once more for an episode cut short
    starts, used = _loop(
        (QLearning, Sarsa, Random).index(type(agent)), agent.q, agent.visits, uniforms, np.random.default_rng(seed), env.transitions,
        env.rewards, env.ends, env.target, -1 if env.start is None else env.start, agent.epsilon, agent.alpha, agent.gamma,
        agent.omega or 0.0, env.max_steps, out, rewards,
    )  # fmt: skip
    generator.bit_generator.state = before  # as if each had been drawn when it was needed
    generator.bit_generator.advance(used)
    states, actions, episodes = out
    return Trajectory(states, actions, rewards, episodes, np.array(starts))


def statistics(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray, seen: np.ndarray, target: Encoding) -> pd.DataFrame:
    """Table 3's columns, one row a run.

    Distances are L1 on axis indices after each step: last (D_f), largest, smallest, standard deviation (rho) and
    variance over the steps. conv counts arrivals at the target; f_semantic and c_semantic count the steps whose image
    was seen to show the target's object and scene.

    Args:
        states, rewards: of every step, (runs, steps).
        seen: perceived encodings of all states, int (states, axes).
        target: the input's perceived encoding.
    """
    distance, axes = env.distance[states], list(env.grammar.axes)
    matches = np.asarray(seen) == np.array(target)
    return pd.DataFrame({
        "D_f": distance[:, -1], "D_max": distance.max(1), "D_min": distance.min(1),
        "rho": distance.std(1), "sigma2": distance.var(1), "conv": (distance == 0).sum(1),
        "f_semantic": matches[states, axes.index("Noun")].sum(1), "c_semantic": matches[states, axes.index("Scene")].sum(1),
        "return": rewards.sum(1),
    })  # fmt: skip


def runs(env: RLDFEnv, setting: Mapping, seeds: Sequence[int], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """One setting with many seeds: the states after each step and the rewards, each (seeds, steps).

    A run's random numbers depend on its seed alone, so neither the order nor the grouping of runs matters.

    Args:
        setting: agent ("Q", "SARSA" or "Random") and epsilon; other entries are not looked at.
    """
    states, rewards = np.empty((len(seeds), steps), np.int32), np.empty((len(seeds), steps))
    for row, seed in enumerate(seeds):
        agent = AGENTS[setting["agent"]](env.grammar.size, env.action_space.n, setting["epsilon"], seed=seed)
        trajectory = run(env, agent, steps, seed)
        states[row], rewards[row] = trajectory.states, trajectory.rewards
    return states, rewards


def reached(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Whether a run of `runs` was ever at the target, bool (runs,)."""
    return (states == env.target).any(1)


def nearest(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """The smallest distance to the target of each run, (runs,)."""
    return env.distance[states].min(1)


def looping(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Share of steps that lead back to where the agent was two steps before, (runs,)."""
    return (states[:, 2:] == states[:, :-2]).mean(1)


def gain_past_goal(env: RLDFEnv, states: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """How much the best reward still rises after the first arrival at the target, (runs,); 0 without arrival."""
    arrived = np.maximum.accumulate(states == env.target, axis=1)
    before = np.where(arrived, -np.inf, rewards).max(1)
    first = rewards[np.arange(len(states)), arrived.argmax(1)]
    return np.where(arrived[:, -1], rewards.max(1) - np.maximum(before, first), 0.0)


def growth(shape: tuple[int, ...], setting: Mapping, seeds: Sequence[int], cap: int) -> pd.DataFrame:
    """The first search in a world of any shape, on its perfect landscape (reward 1, the last axis being the scene).

    Returns:
        One row a seed, which draws the start: states, agent, seed, steps until the first arrival (`cap` if there is
        none), arrived, calls (different states seen until then), table_mb (the Q table, float64).
    """
    grammar = grid(shape)
    target = tuple(2 * n // 3 for n in shape)
    match = np.indices(shape).reshape(len(shape), -1) == np.array(target)[:, None]
    env = RLDFEnv(grammar, target, match[:-1].sum(0) + np.where(match[-1], 1.0, -1.0), max_steps=cap)
    rows = []
    for seed in seeds:
        steps, arrived = 0, 0
        while not arrived and steps < cap:
            steps = min(max(10 * steps, 1000), cap)  # the same trajectory once more, but longer
            agent = AGENTS[setting["agent"]](*env.transitions.shape, setting["epsilon"], seed=seed)
            states = run(env, agent, steps, seed).states
            arrived = int((states == env.target).argmax()) + 1 if (states == env.target).any() else 0
        steps = arrived or cap
        rows.append({"states": grammar.size, "agent": setting["agent"], "seed": seed, "steps": steps, "arrived": bool(arrived),
                     "calls": len(np.unique(states[:steps])), "table_mb": agent.q.nbytes / 1e6})  # fmt: skip
    return pd.DataFrame(rows)


def optimal_return(env: RLDFEnv, episodes: int, gamma: float = GAMMA) -> tuple[float, float]:
    """(mean reward a step, share of episodes that reach the target) of the greedy policy of Q*, from random starts."""
    agent = QLearning(*env.transitions.shape, epsilon=0, alpha=0, gamma=gamma)
    agent.q[:] = env.optimal_q(gamma)
    trajectory = run(env, agent, episodes * env.max_steps)
    return float(trajectory.rewards.mean()), float((trajectory.states == env.target).sum() / len(trajectory.starts))


def convergence(env: RLDFEnv, step_sizes: Mapping[str, float | None], steps: int, seed: int = 0) -> pd.DataFrame:
    """The sup-norm distance of Q-learning's Q to Q* as it learns, with uniform exploration.

    Args:
        step_sizes: label -> omega of the step size 1 / N^omega, or None for the constant alpha.
        steps: at most; the distance is taken some eight times a decade from 10 on.

    Returns:
        One row a measurement: step_size (label), steps, error. States that end an episode are left out: nothing is
        learnt about leaving them.
    """
    marks = np.unique(np.logspace(1, np.log10(steps), 1 + round(8 * np.log10(steps / 10))).astype(int))
    best, rows = env.optimal_q(GAMMA)[~env.ends], []
    for name, omega in step_sizes.items():
        agent = QLearning(*env.transitions.shape, epsilon=1, omega=omega, seed=seed)
        for k, (before, mark) in enumerate(pairwise([0, *marks])):
            run(env, agent, mark - before, seed + k)
            rows.append({"step_size": name, "steps": mark, "error": np.abs(agent.q[~env.ends] - best).max()})
    return pd.DataFrame(rows)


def _part(task: tuple) -> tuple[pd.DataFrame, np.ndarray]:
    grammar, target, landscape, seen, setting, seeds, steps, environment = task
    env = RLDFEnv(grammar, target, landscape, **{"max_steps": steps, **environment})
    states, rewards = runs(env, setting, seeds, steps)
    table = statistics(env, states, rewards, seen, target)
    return table.assign(**setting, seed=list(seeds)), env.distance[states].astype(np.int16)


def sweep(grammar: Grammar, landscapes: Mapping[int, np.ndarray], seen: np.ndarray, target: Encoding, seeds: Sequence[int],
          steps: int = STEPS, settings: Sequence[Mapping] = SETTINGS, address: str = "", progress: str | None = "sweep",
          **environment) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:  # fmt: skip
    """Run every setting with every seed.

    Args:
        landscapes: reward number -> reward of every state, as of `env.perceived_landscapes`.
        seen, target: see `statistics`.
        address: "" for this process; "local" or a cluster's address for Ray (extra `ray`), with the same result.
        progress: label of a progress bar; None shows none.
        environment: further arguments of `RLDFEnv`, such as max_steps (default: `steps`), start, stop_at_target.

    Returns:
        (runs, curves): runs has one row a run (setting, seed and `statistics`); curves maps the number of a setting to
        the distances after each step, int16 (seeds, steps).
    """
    chunks = [seeds[i : i + 250] for i in range(0, len(seeds), 250)]
    tasks = [(grammar, target, landscapes[s["reward"]], seen, s, chunk, steps, environment) for s in settings for chunk in chunks]
    tables, parts = [], {number: [] for number in range(len(settings))}
    with tqdm(total=len(settings) * len(seeds), desc=progress, unit="run", mininterval=2, disable=progress is None) as bar:
        for i, (table, curves) in enumerate(cluster.over(_part, tasks, address)):
            tables.append(table)
            parts[i // len(chunks)].append(curves)
            bar.update(len(table))
    table = pd.concat(tables, ignore_index=True)
    names = [*settings[0], "seed"]
    return table[names + [c for c in table if c not in names]], {number: np.concatenate(part) for number, part in parts.items()}


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the last axis (rliable's IQM; Agarwal et al., 2021)."""
    cut = scores.shape[-1] // 4
    return np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(-1)


def interval(
    scores: np.ndarray, rng: np.random.Generator, statistic: Callable = interquartile_mean, draws: int = 1000
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of all runs, by the stratified bootstrap (Agarwal et al., 2021).

    Args:
        scores: (strata, runs): the runs of each stratum, here a target, are drawn with replacement among themselves.
        rng: draws them; other than in rliable 1.2, it matters.
        statistic: maps (draws, all runs) to (draws,).
    """
    scores = np.atleast_2d(scores)
    strata, n = scores.shape
    drawn = scores[np.arange(strata)[:, None], rng.integers(n, size=(draws, strata, n), dtype=np.int32)]
    return tuple(np.percentile(statistic(drawn.reshape(draws, -1)), [2.5, 97.5]).tolist())


def profile(scores: np.ndarray, thresholds: np.ndarray, rng: np.random.Generator, draws: int = 200) -> tuple[np.ndarray, ...]:
    """Performance profile: share of runs with a score of at least each threshold, and its 95 % stratified bootstrap band.

    Args:
        scores: (strata, runs).

    Returns:
        (share, low, high), each (thresholds,).
    """
    strata, n = scores.shape
    above = (scores[..., None] >= thresholds).astype(np.float32)
    drawn = [above[np.arange(strata)[:, None], rng.integers(n, size=(strata, n))].mean((0, 1)) for _ in range(draws)]
    return above.mean((0, 1)), *np.percentile(drawn, [2.5, 97.5], axis=0)


def effect(ours: np.ndarray, other: np.ndarray, rng: np.random.Generator, draws: int = 2000) -> dict[str, float]:
    """Mean difference of two conditions that were run with the same seeds, and its 95 % paired bootstrap interval.

    Args:
        ours, other: (runs,) or (strata, runs); the seeds of the last axis are drawn, the same for both and for all strata.

    Returns:
        ours, other: the means; difference; low, high.
    """
    difference = np.atleast_2d(np.asarray(ours, float) - np.asarray(other, float)).mean(0)
    n = len(difference)
    drawn = [difference[rng.integers(n, size=n)].mean() for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"ours": float(np.mean(ours)), "other": float(np.mean(other)), "difference": float(difference.mean()),
            "low": float(low), "high": float(high), "n": n}  # fmt: skip


def against_random(runs: pd.DataFrame, statistic: str, rng: np.random.Generator) -> pd.DataFrame:
    """Share of runs with a positive statistic, set against Random's by `effect`, for every learning setting.

    Args:
        runs: of `sweep`; the seeds of the learners and of Random are the same. Several targets: a column `target`.
    """
    runs = runs.assign(positive=(runs[statistic] > 0).astype(float), target=runs.get("target", 0))
    table = runs.pivot_table(index=["agent", "reward", "epsilon"], columns=["target", "seed"], values="positive")
    rows = []
    for setting in SETTINGS:
        if setting["agent"] != "Random":
            pair = [table.loc[(agent, setting["reward"], setting["epsilon"])] for agent in (setting["agent"], "Random")]
            ours, other = (p.unstack("seed").to_numpy() for p in pair)
            rows.append({**setting, **effect(ours, other, rng)})
    return pd.DataFrame(rows)
