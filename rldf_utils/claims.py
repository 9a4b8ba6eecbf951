"""What section 5 says about the agents: each claim as data, two conditions by name, and the loop that judges them.

The experiments that fill the conditions are in `experiments`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rldf_utils import stats
from rldf_utils.multiverse import SMALLEST, hinges
from rldf_utils.readings import LEVELS, Reading

Scores = dict[str, dict[str, np.ndarray]]  #: condition -> measure -> scores, (strata, runs)
BETTER = {"reached": 1, "D_f": -1, "reward per step": 1}  #: measures of epsilon, and which sign is better


@dataclass(frozen=True)
class Claim:
    """That a measure is larger (direction 1) or smaller (-1) in one condition than in another, by the smallest effect at least."""

    text: str
    place: str  #: the insight of section 5
    ours: str  #: names of conditions
    other: str
    measure: str
    smallest: float  #: in the measure's unit, named before the run
    direction: int = 1


CLAIMS = (
    Claim("the start explains the final distance, epsilon 0.01", "1", "by start, 0.01", "shuffled, 0.01", "explained", 0.1),
    Claim("the start explains the final distance, epsilon 0.1", "1", "by start, 0.1", "shuffled, 0.1", "explained", 0.1),
    Claim("with moving seeds the target is reached less often (log arrivals)", "2", "moving seeds", "fixed seeds", "log arrivals", 0.1, -1),
    Claim("with moving seeds the rewards loop more", "2", "moving seeds", "fixed seeds", "looping", 0.02),
    Claim("with moving seeds the learnt Q differs more between runs (log spread)", "2", "moving seeds", "fixed seeds", "log spread", 0.1),
    Claim("the CLIP reward has more local optima than the partial-semantic one", "3", "reward 3", "reward 2", "optima", 1),
    Claim("greedy walks end at the target less often under the CLIP reward than under the partial-semantic one", "3",
          "reward 3", "reward 2", "greedy", 0.05, -1),
    Claim("pictures at one Euclidean distance differ in what they show", "4", "equidistant pairs", "by distance alone", "differ", 0.05),
    Claim("a nine times larger world costs more than twice the calls (log ratio)", "5", "large, Q", "twice base, Q", "log calls", 0.1),
    Claim("in the nine times larger world the search still arrives, within nine times the steps", "5", "large, Q", "base, Q",
          "arrived", -0.1),
    Claim("some inputs are easier than others for Random", "6", "easiest input", "hardest input", "reached", 0.02),
    Claim("Random arrives sooner in a small world than in the base world (log ratio of steps)", "7", "small, Random", "base, Random",
          "log steps", 0.5, -1),
    Claim("Random falls behind Q-learning as the world grows (log ratio of steps, per tenfold size)", "7", "by size", "at any size",
          "slope", 0.1),
    Claim("penalised ends make unrealistic pictures rarer", "8", "unrealistic ends", "no such ends", "unrealistic", 0.005, -1),
    Claim("penalised ends keep the target within reach", "8", "unrealistic ends", "no such ends", "reached", -0.02),
    Claim("errors of perception make the target harder to reach (log arrivals, per 10 % of words misread)", "Table 3", "by dose", "no dose",
          "slope", 0.025, -1),
    Claim("known true: shuffled rewards make it harder to reach (log arrivals)", "control", "shuffled rewards", "as perceived",
          "log arrivals", 0.1, -1),
    Claim("known false: other seeds make it harder to reach (log arrivals)", "control", "other seeds", "as perceived",
          "log arrivals", 0.1, -1),
    *(Claim(f"epsilon 0.1 is as good as the best, by {name}", "Table 3", "epsilon 0.1", "best epsilon", name, -SMALLEST[name], sign)
      for name, sign in BETTER.items()),
    Claim("the search still improves past the goal: finer axes that its picture shows", "Fig. 10", "past the goal", "at the goal",
          "finer", 0.1),
    Claim("and shows more of them than any picture would", "Fig. 10", "past the goal", "any picture", "finer", 0.1),
)  # fmt: skip


def judged(claims: Sequence[Claim], scores: Scores, rng: np.random.Generator) -> pd.DataFrame:
    """One row per claim whose conditions there are: difference, 95 % paired bootstrap interval, n, smallest effect, verdict.

    An undecided row says which n would decide it, if the difference stays as it is.
    """
    rows = []
    for claim in claims:
        if claim.measure in scores.get(claim.ours, ()) and claim.measure in scores.get(claim.other, ()):
            found = stats.effect(scores[claim.ours][claim.measure], scores[claim.other][claim.measure], rng)
            word = stats.verdict(*_beside(claim, found["low"], found["high"]), claim.direction, max(claim.smallest, 0))
            away = found["difference"] - claim.direction * claim.smallest
            needed = stats.enough(word, found["n"], found["low"], found["high"], away)
            rows.append({"claim": claim.text, "insight": claim.place, "measure": claim.measure, **found, "smallest": claim.smallest,
                         "verdict": word, "n to decide": needed})  # fmt: skip
    numbers = ("ours", "other", "difference", "low", "high", "n", "smallest")
    table = pd.DataFrame(rows, columns=["claim", "insight", "measure", *numbers, "verdict", "n to decide"])
    return table if rows else table.astype(dict.fromkeys((*numbers, "n to decide"), float))


def _beside(claim: Claim, low, high):
    """An interval's ends; where the smallest effect is a tolerance, counted from it."""
    tolerance = claim.direction * min(claim.smallest, 0)
    return low - tolerance, high - tolerance


def over(tables: Sequence[pd.DataFrame], claims: Sequence[Claim], readings: Sequence[Reading]) -> pd.DataFrame:
    """The first of the tables of `judged`, one per reading, with its own verdict as `chosen`, and the verdict over all of them.

    A claim that holds in half of the readings, and not in more, is not reproduced. What it hinges on is the field that
    explains most; of readings that differ in one field, that one; "" if none explains anything.
    """
    first, known = tables[0].rename(columns={"verdict": "chosen"}), {claim.text: claim for claim in claims}
    fields = [name for name in LEVELS if len({getattr(reading, name) for reading in readings}) > 1]
    for row, text in enumerate(first["claim"]):
        claim, ends = known[text], pd.DataFrame([table.iloc[row] for table in tables])
        lows, highs = _beside(claim, ends["low"], ends["high"])
        word, count = stats.verdict_over(lows, highs, claim.direction, max(claim.smallest, 0))
        if word == "reproduced" and 2 * count["holds"] <= len(ends):
            word = "depends on the reading"
        shares = hinges(ends["difference"], readings)
        hinge = fields[0] if len(fields) == 1 else shares.index[0] if shares.iloc[0] else ""
        first.loc[row, ["verdict", "holds in", "hinges on"]] = word, f"{count['holds']} of {len(ends)} readings", hinge
    return first
