"""What section 5 says about the agents: each claim as data, two conditions by name, and the experiments behind the conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rldf_utils import landscape, rewards, stats, sweep
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.multiverse import hinges
from rldf_utils.readings import Reading

Scores = dict[str, dict[str, np.ndarray]]  #: condition -> measure -> scores, (strata, runs)
Q = {"agent": "Q", "epsilon": 0.1}


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
    Claim("with moving seeds the target is reached less often", "2", "moving seeds", "fixed seeds", "reached", 0.02, -1),
    Claim("with moving seeds the rewards loop more", "2", "moving seeds", "fixed seeds", "looping", 0.02),
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
    Claim("Random falls behind Q-learning as the world grows (log ratio of steps)", "7", "behind, largest", "behind, base",
          "log ratio", 0.25),
    Claim("penalised ends make unrealistic pictures rarer", "8", "unrealistic ends", "no such ends", "unrealistic", 0.005, -1),
    Claim("penalised ends keep the target within reach", "8", "unrealistic ends", "no such ends", "reached", -0.02),
    Claim("errors of perception make the target harder to reach", "Table 3", "40 % of words misread", "as perceived", "reached", 0.02, -1),
)  # fmt: skip


def judged(claims: Sequence[Claim], scores: Scores, rng: np.random.Generator) -> pd.DataFrame:
    """One row per claim whose conditions there are: difference, 95 % paired bootstrap interval, n, smallest effect, verdict."""
    rows = []
    for claim in claims:
        if claim.ours in scores and claim.other in scores:
            found = stats.effect(scores[claim.ours][claim.measure], scores[claim.other][claim.measure], rng)
            word = stats.verdict(found["low"] - min(claim.smallest, 0), found["high"] - min(claim.smallest, 0), claim.direction,
                                 max(claim.smallest, 0))  # fmt: skip
            rows.append({"claim": claim.text, "insight": claim.place, "measure": claim.measure, **found, "smallest": claim.smallest,
                         "verdict": word})  # fmt: skip
    return pd.DataFrame(rows)


def over(tables: Sequence[pd.DataFrame], claims: Sequence[Claim], readings: Sequence[Reading]) -> pd.DataFrame:
    """The first of the tables of `judged`, one per reading, with the verdict over all of them and what it hinges on."""
    first, known = tables[0].copy(), {claim.text: claim for claim in claims}
    for row, text in enumerate(first["claim"]):
        claim, ends = known[text], [table.iloc[row] for table in tables]
        shift = min(claim.smallest, 0)
        word, count = stats.verdict_over([e["low"] - shift for e in ends], [e["high"] - shift for e in ends], claim.direction,
                                         max(claim.smallest, 0))  # fmt: skip
        shares = hinges([e["difference"] for e in ends], readings)
        first.loc[row, ["verdict", "holds in", "hinges on"]] = word, f"{count['holds']} of {len(ends)} readings", shares.index[0]
    return first


def _walks(
    worlds: Mapping[str, RLDFEnv], seeds: Sequence[int], steps: int, setting: Mapping = Q
) -> list[tuple[RLDFEnv, np.ndarray, np.ndarray]]:
    return [(env, *sweep.runs(env, setting, seeds, steps)) for env in worlds.values()]


def misread(grammar: Grammar, seen: np.ndarray, targets: Mapping[str, Encoding], seeds: Sequence[int], steps: int, shares: Sequence[float],
            reading: Reading, seed: int) -> Scores:  # fmt: skip
    """Q-learning, reward 1, where a share of the perceived words is replaced by another of the axis at random: reached."""
    found, shape, rng = {}, np.array(grammar.shape), np.random.default_rng(seed)
    for share in shares:
        wrong = (seen + rng.integers(1, shape, seen.shape)) % shape
        looks = np.where(rng.random(seen.shape) < share, wrong, seen)
        words = [grammar.decode(look) for look in looks.tolist()]
        reward = rewards.semantic(1, grammar.axes, reading)
        worlds = {
            n: RLDFEnv(grammar, t, np.array([reward(w, grammar.decode(t)) for w in words]), reading=reading) for n, t in targets.items()
        }
        reached = np.stack([sweep.reached(*walk) for walk in _walks(worlds, seeds, steps)])
        found["as perceived" if share == 0 else f"{share * 100:g} % of words misread"] = {"reached": reached}
    return found


def by_start(grammar: Grammar, targets: Mapping[str, Encoding], landscapes: Mapping[str, np.ndarray], seeds: Sequence[int], steps: int,
             reading: Reading, rng: np.random.Generator) -> Scores:  # fmt: skip
    """Q-learning from 120 states at random (all, if there are fewer), each with every seed: how much the start explains.

    It is the share of the final distance's variance, as epsilon squared, one number per input, (1, inputs); beside it the
    same with the starts shuffled.
    """
    found: Scores = {}
    starts = rng.permutation(grammar.size)[:120]
    for epsilon in (0.01, 0.1):
        shares = {"by start": [], "shuffled": []}
        for name, target in targets.items():
            env, last = RLDFEnv(grammar, target, landscapes[name], reading=reading), []
            for start in starts.tolist():
                env.start = start
                last.append(env.distance[sweep.runs(env, {"agent": "Q", "epsilon": epsilon}, seeds, steps)[0][:, -1]])
            last = np.array(last, float)
            shares["by start"].append(explained(last))
            shares["shuffled"].append(explained(rng.permutation(last.ravel()).reshape(last.shape)))
        found |= {f"{name}, {epsilon}": {"explained": np.array([values])} for name, values in shares.items()}
    return found


def explained(values: np.ndarray) -> float:
    """Epsilon squared: the share of the variance of values, (groups, n), between the groups, less what chance explains."""
    groups, n = values.shape
    within, total = ((values - values.mean(1, keepdims=True)) ** 2).sum(), ((values - values.mean()) ** 2).sum()
    return float(1 - within / total * (groups * n - 1) / (groups * (n - 1))) if total else 0.0


def moving(grammar: Grammar, draws: np.ndarray, goals: Sequence[int], aims: np.ndarray, seeds: Sequence[int], steps: int,
           reading: Reading) -> Scores:  # fmt: skip
    """Q-learning, reward 3, where every arrival shows one of the draws of the state's picture, against the first draw alone.

    Args:
        draws: embeddings of the pictures, (draws, states, d); goals: target states; aims: the inputs' embeddings, (goals, d).
    """
    unit = draws / np.linalg.norm(draws, axis=-1, keepdims=True)
    scores: Scores = {"fixed seeds": {}, "moving seeds": {}}
    for name, pictures in (("fixed seeds", unit[:1]), ("moving seeds", unit)):
        shift = -1.0 if reading.offset == "cost" else 0.0
        worlds = {g: RLDFEnv(grammar, grammar.encoding(g), pictures @ (a / np.linalg.norm(a)) + shift, reading=reading)
                  for g, a in zip(goals, aims, strict=True)}  # fmt: skip
        walks = _walks(worlds, seeds, steps)
        scores[name] = {"reached": np.stack([sweep.reached(*w) for w in walks]), "looping": np.stack([looping(w[2]) for w in walks])}
    return scores


def looping(paid: np.ndarray, length: int = 4) -> np.ndarray:
    """Share of steps, (runs,), at which the last `length` rewards are those just before them, in the same order."""
    same = paid[:, length:] == paid[:, :-length]
    windows = np.lib.stride_tricks.sliding_window_view(same, length, axis=1)
    return windows.all(-1).mean(1)


def greedy(values: np.ndarray, env: RLDFEnv, rng: np.random.Generator, walks: int = 5, steps: int = 100) -> float:
    """Share of greedy walks, `walks` from every state, that come to the target: each step to a best neighbour, ties at random.

    A walk ends where every neighbour is lower; it may go on along a plateau.
    """
    at = np.tile(np.arange(len(values)), walks)
    there = at == env.target
    for _ in range(steps):
        options = env.transitions[at]
        worth = values[options] + 0.0
        pick = (worth + 1e-9 * rng.random(worth.shape)).argmax(1)
        go = options[np.arange(len(at)), pick]
        at = np.where((values[go] >= values[at]) & ~there, go, at)
        there |= at == env.target
    return float(there.mean())


def climbing(grammar: Grammar, targets: Mapping[str, Encoding], landscapes: Mapping[str, Mapping[int, np.ndarray]],
             rng: np.random.Generator) -> Scores:  # fmt: skip
    """Per reward and input: the number of local optima, and the share of greedy walks that end at the target; (1, inputs)."""
    found: Scores = {}
    for number in (1, 2, 3):
        optima, ends = [], []
        for name, target in targets.items():
            env, values = RLDFEnv(grammar, target), landscapes[name][number]
            optima.append(float(landscape.optima(values, env.transitions)[1].sum()))
            ends.append(greedy(values, env, rng))
        found[f"reward {number}"] = {"optima": np.array([optima]), "greedy": np.array([ends])}
    return found


def equidistant(grammar: Grammar) -> Scores:
    """Every state being the target once: of all pairs of states at one Euclidean distance from it, the share that show it in
    another number of elements.

    By distance alone it would be 0; (1, states).
    """
    states, shares = np.array(list(grammar.states())), []
    for target in states:
        squared, matching = ((states - target) ** 2).sum(1), (states == target).sum(1)
        pairs = differ = 0
        for value in np.unique(squared):
            counts = np.bincount(matching[squared == value])
            n = counts.sum()
            pairs += n * (n - 1) / 2
            differ += (n**2 - (counts**2).sum()) / 2
        shares.append(differ / pairs)
    return {"equidistant pairs": {"differ": np.array([shares])}, "by distance alone": {"differ": np.zeros((1, len(shares)))}}


def unrealistic(grammar: Grammar, seen: np.ndarray, targets: Mapping[str, Encoding], landscapes: Mapping[str, np.ndarray],
                seeds: Sequence[int], steps: int, reading: Reading) -> Scores:  # fmt: skip
    """Q-learning, reward 1, where pictures with a wrong axis end the episode with twice the worst reward, or do nothing.

    Measures: share of steps on such states, and reached.
    """
    states = np.array(list(grammar.states()))
    found: Scores = {}
    for name, ends in (("no such ends", False), ("unrealistic ends", True)):
        rare, reached = [], []
        for n, target in targets.items():
            bad = (seen != states).any(1) & (states != np.array(target)).any(1)
            options = {"unrealistic": bad, "penalty": 2 * float(landscapes[n].min())} if ends else {}
            env = RLDFEnv(grammar, target, landscapes[n], reading=reading, **options)
            walked, paid = sweep.runs(env, Q, seeds, steps)
            rare.append(bad[walked].mean(1))
            reached.append(sweep.reached(env, walked, paid))
        found[name] = {"unrealistic": np.stack(rare), "reached": np.stack(reached)}
    return found


def easiest(reached: np.ndarray) -> Scores:
    """The inputs that half of the runs call easiest and hardest, as the other half finds them; reached: (inputs, runs)."""
    half = reached.shape[1] // 2
    order = reached[:, :half].mean(1).argsort()
    return {name: {"reached": reached[order[place], half:]} for name, place in (("hardest input", 0), ("easiest input", -1))}


def growing(grown: pd.DataFrame) -> Scores:
    """Conditions of the claims on growth, from `growth` of both agents; sizes in their order: small, base, large, ..., largest."""
    sizes = sorted(grown["states"].unique())
    part = {key: p.sort_values("seed") for key, p in grown.groupby(["states", "agent"])}
    logs = {key: {"log steps": np.log(p["steps"].to_numpy()), "log calls": np.log(p["calls"].to_numpy())} for key, p in part.items()}
    small, base, large = sizes[:3]
    behind = {}
    for name, size in (("base", base), ("largest", sizes[-1])):
        n = min(len(part[size, "Q"]), len(part[sizes[-1], "Q"]))
        behind[name] = (logs[size, "Random"]["log steps"] - logs[size, "Q"]["log steps"])[:n]
    within = {name: (part[size, "Q"]["steps"] <= limit).to_numpy() for name, size, limit in (("base", base, 1000), ("large", large, 9000))}
    return {
        "small, Random": logs[small, "Random"], "base, Random": logs[base, "Random"], "base, Q": {"arrived": within["base"]},
        "large, Q": logs[large, "Q"] | {"arrived": within["large"]},
        "twice base, Q": {"log calls": logs[base, "Q"]["log calls"] + np.log(2)},
        "behind, base": {"log ratio": behind["base"]}, "behind, largest": {"log ratio": behind["largest"]},
    }  # fmt: skip


def three_measures(env: RLDFEnv, states: np.ndarray, paid: np.ndarray, **columns) -> list[dict]:
    """One row per run: `columns`, reached, D_f, reward per step."""
    distance = env.distance[states]
    return (
        pd.DataFrame({"reached": (distance == 0).any(1).astype(float), "D_f": distance[:, -1], "reward per step": paid.mean(1)})
        .assign(**columns)
        .to_dict("records")
    )
