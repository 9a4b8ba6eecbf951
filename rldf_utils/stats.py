"""Intervals, tests and verdicts."""

import math
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
from scipy.stats import binomtest

from rldf_utils.arguments import integer

DRAWS = 100_000  #: most samples of a bootstrap


def _strata(scores: np.ndarray) -> np.ndarray:
    """Scores as (strata, runs), or a ValueError."""
    scores = np.atleast_2d(np.asarray(scores))
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite numbers, (strata, runs), not of shape {scores.shape}")
    return scores


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
    scores, draws = _strata(scores), integer("draws", draws, 1, DRAWS)
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
    scores, draws = _strata(scores), integer("draws", draws, 1, DRAWS)
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
    ours, other = (_strata(np.asarray(scores, float)) for scores in (ours, other))
    if ours.shape != other.shape:
        raise ValueError(f"the two conditions have {ours.shape} and {other.shape} runs; paired runs are needed")
    difference = (ours - other).mean(0)
    n = len(difference)
    drawn = [difference[rng.integers(n, size=n)].mean() for _ in range(draws)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"ours": float(np.mean(ours)), "other": float(np.mean(other)), "difference": float(difference.mean()),
            "low": float(low), "high": float(high), "n": n}  # fmt: skip


def intervals(differences: np.ndarray, rng: np.random.Generator, draws: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile intervals of many paired means at once; the same seeds are drawn for all rows.

    Args:
        differences: (rows, seeds).

    Returns:
        (low, high), each (rows,).
    """
    n = differences.shape[1]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=integer("draws", draws, 1, DRAWS)) / n
    return tuple(np.percentile(differences @ weights.T, [2.5, 97.5], axis=1))


def nested(scores: np.ndarray, rng: np.random.Generator, statistic: Callable | None = None, draws: int = 500) -> tuple[float, float]:
    """95 % percentile interval of a statistic of runs by a bootstrap in two stages: targets, then the seeds of each.

    Unlike in `interval`, the targets are a sample too.

    Args:
        scores: (..., targets, seeds).
        statistic: maps (..., draws, runs) to (draws,); None is the mean.
    """
    targets, seeds = scores.shape[-2:]
    rows = rng.integers(targets, size=(integer("draws", draws, 1, DRAWS), targets, 1), dtype=np.int32)
    drawn = scores[..., rows, rng.integers(seeds, size=(draws, targets, seeds), dtype=np.int32)]
    drawn = drawn.reshape(*drawn.shape[:-2], -1)
    return tuple(np.percentile(drawn.mean(-1) if statistic is None else statistic(drawn), [2.5, 97.5]).tolist())


def doubted(low: float, high: float, n: int) -> tuple[float, float]:
    """A bootstrap's interval; where all n values are equal it knows no doubt, and the rule of three, 3 / n, stands in for it."""
    return (low - 3 / n, high + 3 / n) if low == high else (low, high)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score method, which is sound near 0 and 1 too."""
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def permutation_test(matrix: np.ndarray, score: Callable[[np.ndarray], float], rng: np.random.Generator, most: int = 1000) -> dict:
    """Whether the order of the rows and columns of a matrix matters to a score: against all other orders, or `most` random ones.

    An order and its reverse are one: the score must not tell them apart.

    Args:
        matrix: symmetric, (n, n).

    Returns:
        score: of the order as it is; mean: over all orders; rank (1: none is higher), orders: their number; p: the share
        of orders that score as high or higher; least_p: what it can be at best.
    """
    n = len(matrix)
    if math.factorial(n) // 2 <= most:
        orders = [order for order in permutations(range(n)) if order[0] < order[-1] or n == 1]
    else:
        orders = [tuple(range(n)), *(tuple(rng.permutation(n)) for _ in range(most - 1))]
    scores = np.array([score(matrix[np.ix_(order, order)]) for order in orders])
    higher = int((scores >= scores[0] - 1e-12).sum())
    rank = int((scores > scores[0] + 1e-12).sum()) + 1
    return {"score": float(scores[0]), "mean": float(scores.mean()), "rank": rank, "orders": len(orders), "p": higher / len(orders),
            "least_p": 1 / len(orders)}  # fmt: skip


def verdict(low: float, high: float, direction: int, smallest: float = 0.0) -> str:
    """What the 95 % interval of an effect says about a claim on its sign.

    Args:
        direction: +1 if the claim is that the effect is positive, -1 if negative.
        smallest: the smallest effect of interest, in the effect's unit, named before the run.

    Returns:
        "reproduced" if the interval lies beyond the smallest effect on the claim's side; "contradicted" if it lies wholly
        short of it, so that the effect is opposite or too small to matter; else "undecided".
    """
    if direction < 0:
        low, high = -high, -low
    if low > 0 and low >= smallest:
        return "reproduced"
    return "contradicted" if high < smallest else "undecided"


def more(half: float, away: float) -> float:
    """How many times as many runs would decide what is undecided, if its effect stays as it is: intervals shrink with their root.

    Args:
        half: of the interval's width.
        away: how far the effect lies from the smallest one of interest.
    """
    return (half / away) ** 2 if away else np.inf


def enough(word: str, n: int, low: float, high: float, away: float) -> float:
    """The n that would decide what is undecided, if its effect stays so far away from the smallest one; NaN where all is decided."""
    return float(np.ceil(n * more((high - low) / 2, away))) if word == "undecided" and away else np.nan


def verdict_over(lows: Sequence[float], highs: Sequence[float], direction: int, smallest: float = 0.0) -> tuple[str, dict[str, int]]:
    """The verdict on a claim over many readings of the paper, each with the interval of its effect.

    Returns:
        The word: "undecided" if half of the readings or more are; "reproduced" if the claim holds in at least half of all,
        and in at least 95 % of those whose interval lies beyond the smallest effect on either side; "contradicted" if it
        holds in at most 5 % of those that decide; else "depends on the reading". And in how many readings it `holds`, is
        `opposite`, has `no_effect` (the interval lies within the smallest effect), and is `open`.
    """
    lows, highs = (np.asarray(ends, float) * direction for ends in ((lows, highs) if direction > 0 else (highs, lows)))
    words = np.array([verdict(*ends, 1, smallest) for ends in zip(lows, highs, strict=True)])
    holds = words == "reproduced"
    opposite = (highs <= -smallest) & (highs < 0)
    unclear = words == "undecided"
    count = {"holds": int(holds.sum()), "opposite": int(opposite.sum()), "no_effect": int((~holds & ~opposite & ~unclear).sum()),
             "open": int(unclear.sum())}  # fmt: skip
    n, decided = len(words), len(words) - count["open"]
    if 2 * count["open"] >= n:
        return "undecided", count
    if 2 * count["holds"] >= n and count["holds"] >= 0.95 * (count["holds"] + count["opposite"]):
        return "reproduced", count
    return "contradicted" if count["holds"] <= 0.05 * decided else "depends on the reading", count
