"""Table 3's sweep as data: 18 settings, many seeds, one tidy row a run."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from rldf_utils.agents import AGENTS, Trajectory, run
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Encoding, Grammar

SETTINGS = tuple(
    {"agent": agent, "reward": reward, "epsilon": epsilon}
    for agent in ("Q", "Random", "SARSA")
    for reward in (1, 2, 3)
    for epsilon in (0.01, 0.10)
)  #: the rows of Table 3, in its order
STEPS = 100  #: steps a run (section 3.1)


def statistics(env: RLDFEnv, trajectory: Trajectory, seen: np.ndarray, target: Encoding) -> dict[str, float]:
    """Table 3's columns of one run.

    Distances are L1 on axis indices after each step: last (D_f), largest, smallest, standard deviation (rho) and
    variance over the steps. conv counts arrivals at the target; f_semantic and c_semantic count the steps whose image
    was seen to show the target's object and scene.

    Args:
        seen: perceived encodings of all states, int (states, axes).
        target: the input's perceived encoding.
    """
    distance, axes = env.distance[trajectory.states], list(env.grammar.axes)
    matches = seen[trajectory.states] == np.array(target)
    return {
        "D_f": int(distance[-1]), "D_max": int(distance.max()), "D_min": int(distance.min()),
        "rho": float(distance.std()), "sigma2": float(distance.var()),
        "conv": int((distance == 0).sum()),
        "f_semantic": int(matches[:, axes.index("Noun")].sum()), "c_semantic": int(matches[:, axes.index("Scene")].sum()),
        "return": float(trajectory.rewards.sum()),
    }  # fmt: skip


def sweep(grammar: Grammar, landscapes: Mapping[int, np.ndarray], seen: np.ndarray, target: Encoding, seeds: Sequence[int],
          steps: int = STEPS, settings: Sequence[Mapping] = SETTINGS) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:  # fmt: skip
    """Run every setting with every seed.

    A run's random numbers depend on its seed alone, so the order and the grouping of runs do not matter.

    Args:
        landscapes: reward number -> reward of every state, as of `env.perceived_landscapes`.
        seen, target: see `statistics`.

    Returns:
        (runs, curves): runs has one row a run (setting, seed and `statistics`); curves maps the number of a setting to
        the distances after each step, int (seeds, steps).
    """
    rows, curves = [], {}
    with tqdm(total=len(settings) * len(seeds), desc="sweep", unit="run") as bar:
        for number, setting in enumerate(settings):
            env = RLDFEnv(grammar, target, landscapes[setting["reward"]], max_steps=steps)
            distance = []
            for seed in seeds:
                agent = AGENTS[setting["agent"]](grammar.size, env.action_space.n, setting["epsilon"], seed=seed)
                trajectory = run(env, agent, steps, seed=seed)
                rows.append({**setting, "seed": seed, **statistics(env, trajectory, seen, target)})
                distance.append(env.distance[trajectory.states])
                bar.update()
            curves[number] = np.array(distance)
    return pd.DataFrame(rows), curves


def against_random(runs: pd.DataFrame, statistic: str, rng: np.random.Generator, draws: int = 2000) -> pd.DataFrame:
    """Share of runs with a positive statistic, minus Random's, for every learning setting.

    Returns:
        One row a setting: agent, reward, epsilon, share, random, difference, and its 95 % bootstrap interval (low,
        high) over the seeds, which are drawn as pairs since Random's runs share them.
    """
    positive = runs.assign(positive=runs[statistic] > 0).set_index(["agent", "reward", "epsilon", "seed"])["positive"].astype(float)
    rows = []
    for setting in SETTINGS:
        if setting["agent"] == "Random":
            continue
        ours = positive.loc[tuple(setting.values())].sort_index().to_numpy()
        floor = positive.loc["Random", setting["reward"], setting["epsilon"]].sort_index().to_numpy()
        drawn = (ours - floor)[rng.integers(len(ours), size=(draws, len(ours)))].mean(1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        rows.append(
            {**setting, "share": ours.mean(), "random": floor.mean(), "difference": (ours - floor).mean(), "low": low, "high": high}
        )
    return pd.DataFrame(rows)
