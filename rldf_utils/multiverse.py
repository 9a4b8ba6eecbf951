"""Claims about the agents, as data, and what becomes of each under many readings of the paper.

A multiverse analysis (Steegen et al., 2016) with the specification curve of Simonsohn et al. (2020): every claim compares
two groups of Table 3's settings, run with the same seeds under every reading.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from rldf_utils import landscape, stats
from rldf_utils.compiled import many
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.progress import Bar
from rldf_utils.readings import LEVELS, Reading
from rldf_utils.sweep import SETTINGS, STEPS, _seeds

#: measure -> its smallest effect of interest: what a reader of Table 3 would call a difference
SMALLEST = {"reached": 0.02, "D_f": 0.25, "D_min": 0.25, "rho": 0.05, "reward per step": 0.05}


@dataclass(frozen=True, eq=False)
class Claim:
    """That one group of settings has a larger (direction 1) or smaller (-1) measure than another, by the smallest effect at least."""

    text: str
    place: str  #: in the paper
    ours: Mapping  #: what the settings of the first group have in common; the rest is averaged over
    other: Mapping
    measure: str  #: of `SMALLEST`
    direction: int = 1

    @property
    def smallest(self) -> float:
        """The smallest effect of interest, in the measure's unit."""
        return SMALLEST[self.measure]


Q, SARSA, RANDOM = ({"agent": agent} for agent in ("Q", "SARSA", "Random"))
LEARNERS = {"agent": ("Q", "SARSA")}
CLAIMS = (
    Claim("Q-learning reaches the target more often than Random", "section 5, 6 and 7", Q, RANDOM, "reached"),
    Claim("SARSA reaches the target more often than Random", "section 5, 6 and 7", SARSA, RANDOM, "reached"),
    Claim("the learners end nearer to the target than Random", "section 5, 7", LEARNERS, RANDOM, "D_f", -1),
    Claim("the learners collect more reward than Random", "section 5, 7", LEARNERS, RANDOM, "reward per step"),
    Claim("SARSA reaches the target more often than Q-learning", "Table 3, Conv.", SARSA, Q, "reached"),
    Claim("the learners reach the target more often with epsilon 0.1 than with 0.01", "Table 3, caption",
          LEARNERS | {"epsilon": 0.1}, LEARNERS | {"epsilon": 0.01}, "reached"),
    Claim("the learners end nearer with epsilon 0.1 than with 0.01", "Table 3, caption",
          LEARNERS | {"epsilon": 0.1}, LEARNERS | {"epsilon": 0.01}, "D_f", -1),
    Claim("the learners collect more reward with epsilon 0.1 than with 0.01", "Table 3, caption",
          LEARNERS | {"epsilon": 0.1}, LEARNERS | {"epsilon": 0.01}, "reward per step"),
    Claim("the partial-semantic reward leads nearer than the CLIP reward", "section 5, 3",
          LEARNERS | {"reward": 2}, LEARNERS | {"reward": 3}, "D_min", -1),
    Claim("the partial-semantic reward reaches the target more often than the CLIP reward", "section 5, 3",
          LEARNERS | {"reward": 2}, LEARNERS | {"reward": 3}, "reached"),
    Claim("with epsilon 0.1 and the partial-semantic reward the distance varies less than in the learners' other settings", "Figure 6",
          LEARNERS | {"epsilon": 0.1, "reward": 2}, LEARNERS, "rho", -1),
)  # fmt: skip


def group(condition: Mapping) -> list[int]:
    """The numbers of the settings of Table 3 that meet a condition."""
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in condition.items()}
    return [number for number, setting in enumerate(SETTINGS) if all(setting[name] in values for name, values in wanted.items())]


def scores(grammar: Grammar, seen: Sequence[Encoding], embeddings: np.ndarray, targets: Mapping[str, tuple[Encoding, np.ndarray]],
           readings: Sequence[Reading], seeds: Sequence[int], steps: int = STEPS,
           progress: str | None = "readings") -> dict[str, np.ndarray]:  # fmt: skip
    """All 18 settings under every reading, with every seed and target.

    Args:
        seen, embeddings: of every state's picture, see `landscape.perceived`.
        targets: input -> (target, its embedding).
        progress: label of a progress bar over the readings; None shows none.

    Returns:
        measure of `SMALLEST` -> its mean over the targets, float64 (readings, settings, seeds).
    """
    found = {measure: np.empty((len(readings), len(SETTINGS), len(seeds))) for measure in SMALLEST}

    @lru_cache
    def values(name: str, c_s: float, offset: str) -> dict[int, np.ndarray]:
        return landscape.perceived(grammar, seen, embeddings, *targets[name], Reading(c_s=c_s, offset=offset))

    for row, reading in enumerate(Bar(readings, desc=progress, unit="reading", disable=progress is None)):
        for number, setting in enumerate(SETTINGS):
            if setting["agent"] == "Random" and setting["epsilon"] != 0.01:  # epsilon is nothing to Random
                for measure in found.values():
                    measure[row, number] = measure[row, number - 1]
                continue
            parts = []
            for name, (target, _) in targets.items():
                env = RLDFEnv(grammar, target, values(name, reading.c_s, reading.offset)[setting["reward"]], reading=reading)
                drawn = _seeds(tuple(seeds), *env.transitions.shape, steps)
                parts.append(_measures(env, *many(env, setting["agent"], setting["epsilon"], drawn)))
            for measure in found:
                found[measure][row, number] = np.mean([part[measure] for part in parts], axis=0)
    return found


def _measures(env: RLDFEnv, states: np.ndarray, paid: np.ndarray) -> dict[str, np.ndarray]:
    distance = env.distance[states]
    return {"reached": (states == env.target).any(1), "D_f": distance[:, -1], "D_min": distance.min(1), "rho": distance.std(1),
            "reward per step": paid.mean(1)}  # fmt: skip


def effects(found: Mapping[str, np.ndarray], claim: Claim, rng: np.random.Generator, draws: int = 2000) -> pd.DataFrame:
    """The effect in every reading: ours minus other, mean over the targets and seeds, with its 95 % paired bootstrap interval.

    Returns:
        One row per reading: ours, other, difference, low, high.
    """
    values = found[claim.measure]
    ours, chosen = group(claim.ours), group(claim.other)
    other = [number for number in chosen if number not in ours] or chosen
    pair = [values[:, numbers].mean(1) for numbers in (ours, other)]
    difference = pair[0] - pair[1]
    low, high = stats.intervals(difference, rng, draws)
    means = [p.mean(1) for p in pair]
    return pd.DataFrame({"ours": means[0], "other": means[1], "difference": difference.mean(1), "low": low, "high": high})


def judge(table: pd.DataFrame, claim: Claim, readings: Sequence[Reading]) -> dict:
    """The verdict over all readings, in how many the claim holds, and what it hinges on.

    Returns:
        claim, place, measure, smallest; difference, low, high and verdict of the default reading (the first) alone; in how
        many readings it holds, opposite, no_effect, open; readings; verdict; hinges_on (the field that explains most) and
        the share that it explains.
    """
    word, count = stats.verdict_over(table["low"], table["high"], claim.direction, claim.smallest)
    shares = hinges(table["difference"], readings)
    first = table.iloc[0]
    return {"claim": claim.text, "place": claim.place, "measure": claim.measure, "smallest": claim.smallest,
            "difference": first["difference"], "low": first["low"], "high": first["high"],
            "default": stats.verdict(first["low"], first["high"], claim.direction, claim.smallest), **count, "readings": len(table),
            "verdict": word, "hinges_on": shares.index[0], "explains": float(shares.iloc[0])}  # fmt: skip


def hinges(effect: Iterable[float], readings: Sequence[Reading]) -> pd.Series:
    """The share of an effect's variance between readings that each field explains by itself, largest first.

    It is epsilon squared (Kelley, 1935): eta squared of the field's levels less what chance explains; below 0 it is 0.
    """
    effect = np.asarray(list(effect), float)
    total, n, shares = ((effect - effect.mean()) ** 2).sum(), len(effect), {}
    for name in LEVELS:
        levels = [getattr(reading, name) for reading in readings]
        means = pd.Series(effect).groupby(levels).transform("mean")
        within, kinds = ((effect - means) ** 2).sum(), len(set(levels))
        shares[name] = max(0.0, 1 - within / total * (n - 1) / (n - kinds)) if total and n > kinds else 0.0
    return pd.Series(shares).sort_values(ascending=False, kind="stable")
