"""What section 3 and Figure 11 say about the noisy diffusion gradient: the claims as data, and the experiments that fill them.

Scores are as in `claims`: condition -> measure -> (strata, runs); here the inputs are the strata, unless said otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from rldf_utils.claims import Claim, Scores
from rldf_utils.env import distances, transition_table
from rldf_utils.gradient import ESTIMATORS, ending, plateaus, runs, signal_and_noise
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.readings import LEVELS, Reading
from rldf_utils.rewards import scene_axis

ITERATIONS = 200  #: most of a run
Landscapes = Mapping[str, Mapping[int, np.ndarray]]  #: input -> reward -> values, as of `landscape.load`


def reaching(budget: int, size: int) -> list[Claim]:
    """The claims about reaching the target, for every estimator and reward."""
    kinds = (
        (f"sees the target within {budget} calls more often than random draws", "Fig. 11", "seen", 0.1, 1),
        ("needs fewer calls than random draws", "fast", "calls", size / 20, -1),
        ("often gets stuck on plateaus", "plateaus", "stuck", 0.1, 1),
    )
    return [Claim(f"{e}, reward {n}: {text}", place, f"{e}, reward {n}", "random", measure, least, sign)
            for e, n, (text, place, measure, least, sign) in product(ESTIMATORS, (1, 2, 3), kinds)]  # fmt: skip


KEPT = tuple(
    Claim(f"reward {n}: pictures of what was found {text}", "Fig. 11", f"found, reward {n}", f"{other}, reward {n}", "axes right", least)
    for n in (1, 3)
    for text, other, least in (("keep what the input shows", "true", -0.05), ("show more of it than the start's", "start", 0.2))
)
SIGNAL = (
    *(Claim(f"reward {n}: the noise exceeds the signal", "low signal", f"reward {n}, all", "equal",
            "noise share", 0.0) for n in (1, 2, 3)),
    *(Claim(f"reward {n}: the signal is lower far from the target", "low signal", f"reward {n}, far", f"reward {n}, near",
            "noise share", 0.05) for n in (1, 2, 3)),
    *(Claim(f"reward {n}: two pictures per state need fewer calls than one (log ratio)", "low signal", f"reward {n}, 2 pictures",
            f"reward {n}, 1 picture", "log calls", 0.1, -1) for n in (1, 3)),
)  # fmt: skip
AFTER = tuple(
    Claim(f"{e}: {text} after the goal", "after the goal", f"{e}, after", "bound", measure, least)
    for e in ESTIMATORS
    for text, measure, least in (("leaves the target", "away", 0.1), ("diverges", "distance", 0.0))
)


def kinds(reading: Reading) -> list[Reading]:
    """The reading, and every combination of what can matter to a gradient: C_s, the border, the order of the words."""
    fields = ("c_s", "border", "order")
    combined = [replace(reading, **dict(zip(fields, levels, strict=True))) for levels in product(*(LEVELS[f] for f in fields))]
    return list(dict.fromkeys([reading, *combined]))


def perfect(grammar: Grammar, number: int, reading: Reading) -> Iterator[np.ndarray]:
    """The perfect landscape of reward 1 or 2, up to a constant, with every state as the target in turn."""
    states, scene = np.array(list(grammar.states())), scene_axis(grammar.axes)
    weights = np.array([2 * reading.c_s if axis == scene else float(number == 1) for axis in grammar.axes])
    return ((states == target) @ weights for target in states)


def reach(landscapes: Landscapes, goals: Mapping[str, int], shape: Sequence[int], estimators: Sequence[str], seeds: Sequence[int],
          budget: int, reading: Reading) -> tuple[pd.DataFrame, Scores]:  # fmt: skip
    """Runs until the look at the target, or until stuck, at most 200 iterations; beside them random draws without replacement.

    Returns:
        `gradient.runs` with the columns estimator, reward, ending; and the scores: seen (within `budget` calls), calls (a run
        that never sees the target counts with all states), stuck. Random has seen the target within k calls with
        probability k / states.
    """
    size, rows = int(np.prod(shape)), []
    chance = {"seen": budget / size, "calls": (size + 1) / 2, "stuck": 0.0}
    scores = {"random": {measure: np.full((len(goals), len(seeds)), value) for measure, value in chance.items()}}
    for estimator, n in product(estimators, (1, 2, 3)):
        options = {"estimator": estimator, "reading": reading, "iterations": ITERATIONS}
        part = runs({name: landscapes[name][n] for name in goals}, goals, shape, seeds, size, **options)
        ends = [ending(path, goals[name]) for name, path in zip(part["input"], part["path"], strict=True)]
        part["ending"] = np.where(part["calls"] <= size, "at the target", ends)
        measures = {"seen": part["calls"] <= budget, "calls": part["calls"].clip(upper=size), "stuck": part["ending"] == "stuck"}
        scores[f"{estimator}, reward {n}"] = {m: v.to_numpy(float).reshape(len(goals), -1) for m, v in measures.items()}
        rows.append(part.assign(estimator=estimator, reward=n))
    return pd.concat(rows, ignore_index=True), scores


def answered(landscapes: Landscapes, goals: Mapping[str, int], grammar: Grammar, true: Mapping[str, str], seeds: Sequence[int],
             budget: int, **settings) -> pd.DataFrame:  # fmt: skip
    """What runs without the terminal signal find under rewards 1 and 3, as a user would get it.

    Args:
        true: input -> its true sentence.

    Returns:
        Rows of `gradient.runs` with the columns reward, arrived (the sentence found is the target), and the sentences true,
        start and found.
    """
    parts = [runs({name: landscapes[name][n] for name in goals}, goals, grammar.shape, seeds, budget, stop=False, **settings)
             .assign(reward=n) for n in (1, 3)]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    rows["true"], rows["arrived"] = rows["input"].map(true), rows["found"] == rows["input"].map(goals)
    for column, states in (("start", rows["path"].str[0]), ("found", rows["found"])):
        rows[column] = [grammar.surface(grammar.encoding(state)) for state in states]
    return rows


def kept(answers: pd.DataFrame, shown: Mapping[str, Sequence[Mapping[str, str]]],
         known: Mapping[str, Mapping[str, str]]) -> tuple[pd.DataFrame, Scores]:  # fmt: skip
    """Share of axes that the judge sees as the input shows them, in pictures of the sentences found, started from, and true.

    Args:
        answers: rows of `gradient.runs`, with the column reward, and the sentences found, start, true.
        shown: sentence -> what the judge says of each picture of it.
        known: input -> its true semantics, {axis: word}.

    Returns:
        The answers with the column axes right (of the sentence found), and the scores.
    """
    right = {(s, name): np.mean([seen[axis] == word for seen in shown[s] for axis, word in truth.items()])
             for s in shown for name, truth in known.items()}  # fmt: skip
    share = {c: np.array([right[key] for key in zip(answers[c], answers["input"], strict=True)]) for c in ("found", "start", "true")}
    scores = {f"{column}, reward {n}": {"axes right": found[answers["reward"] == n].reshape(len(known), -1)}
              for n, (column, found) in product(answers["reward"].unique(), share.items())}  # fmt: skip
    return answers.assign(**{"axes right": share["found"]}), scores


def flat(grammars: Sequence[Grammar], landscapes: Landscapes, goals: Mapping[str, int], reading: Reading) -> pd.DataFrame:
    """Means of `gradient.plateaus`: perfect landscapes of all targets in every grammar, the perceived ones in the first."""
    rows = {}
    for grammar, n in product(grammars, (1, 2)):
        table = transition_table(grammar.shape, reading)
        found = plateaus(perfect(grammar, n, reading), range(grammar.size), table)
        rows[f"reward {n}, perfect, {grammar.size} states"] = found.mean()
    table = transition_table(grammars[0].shape, reading)
    for n in (1, 2, 3):
        found = plateaus([landscapes[name][n] for name in goals], list(goals.values()), table)
        rows[f"reward {n}, perceived, {grammars[0].size} states"] = found.mean()
    return pd.DataFrame(rows).T.sort_index()


def noise(grammar: Grammar, targets: Mapping[str, Encoding], draws: Sequence[Landscapes], reading: Reading,
          most: int = 8) -> tuple[dict[int, np.ndarray], Scores]:  # fmt: skip
    """Signal and noise of a difference over the draws of every state's picture, near the target and far from it.

    Returns:
        reward -> signal / noise at each distance to the target from 1 to `most` (and more), all inputs together, NaN without
        noise; and the scores, one per input: noise share, that of the noise in the sum of both squares, in all states and
        in the nearer and the farther half.
    """
    transitions, away = transition_table(grammar.shape, reading), {n: distances(grammar.shape, t, reading) for n, t in targets.items()}
    ratios, scores, most = {}, {"equal": {"noise share": np.full(len(targets), 0.5)}}, min(most, *(d.max() for d in away.values()))
    for n in draws[0][next(iter(targets))]:
        squares = []
        for name, d in away.items():
            values, groups = np.stack([draw[name][n] for draw in draws]), [d * 0, (d > np.median(d)).astype(int), np.minimum(d, most)]
            squares.append([np.square(signal_and_noise(values, transitions, group)) for group in groups])
        signal, noise = np.mean([by_input[2][:, 1:] for by_input in squares], axis=0)
        ratios[n] = np.sqrt(signal / np.where(noise > 0, noise, np.nan))
        for label, group, row in (("all", 0, 0), ("near", 1, 0), ("far", 1, 1)):
            pairs = np.array([by_input[group][:, row] for by_input in squares])
            scores[f"reward {n}, {label}"] = {"noise share": pairs[:, 1] / np.maximum(pairs.sum(1), 1e-300)}
    return ratios, scores


def several(grammar: Grammar, percepts: np.ndarray, embeddings: np.ndarray, seeds: Sequence[int], reading: Reading,
            **settings) -> tuple[pd.DataFrame, Scores]:  # fmt: skip
    """Calls until the target with 1, 2, 4, 8 pictures per state, seeds moving, in the world of the last axis's first word.

    Args:
        percepts, embeddings: what was seen in every draw of its states, (draws, states, axes) and (draws, states, d); the
            last draw holds the inputs, for at most 24 targets.

    Returns:
        One row per run of `gradient.runs`, with reward and pictures; calls at most twice the states. And log calls.
    """
    weights = np.array([2 * reading.c_s if axis == scene_axis(grammar.axes) else 1.0 for axis in grammar.axes])
    size, rows, scores = percepts.shape[1], [], {}
    goals = {str(goal): goal for goal in range(0, size, max(size // 24, 1))}
    values = {1: {n: (percepts[:-1] == percepts[-1, g]) @ weights for n, g in goals.items()},
              3: {n: embeddings[:-1] @ embeddings[-1, g] for n, g in goals.items()}}  # fmt: skip
    for m, n in product((1, 2, 4, 8), values):
        options = {"pictures": m, "iterations": ITERATIONS, "reading": reading} | settings
        part = runs(values[n], goals, grammar.shape[:-1], seeds, 2 * size, **options)
        part["calls"] = part["calls"].clip(upper=2 * size)
        scores[f"reward {n}, {m} picture{'s' * (m > 1)}"] = {"log calls": np.log(part["calls"].to_numpy()).reshape(len(goals), -1)}
        rows.append(part.assign(pictures=m, reward=n))
    return pd.concat(rows, ignore_index=True), scores


def after(panels: Mapping[str, Mapping[str, np.ndarray]], targets: Mapping[str, Encoding], grammar: Grammar, seeds: Sequence[int],
          reading: Reading, iterations: int = 100) -> tuple[pd.DataFrame, Scores]:  # fmt: skip
    """Runs that begin on the target, as if they had just arrived, and go on without the terminal signal.

    Args:
        panels: landscape -> input -> rewards. The scores are of the last ones, those as perceived: all but the first.

    Returns:
        One row per run of `gradient.runs`, with landscape, estimator and distances (of the path). The scores are one per
        landscape and input, (landscapes, inputs): away, the share of iterations elsewhere; distance, the mean over the
        second half. Their bound: 0, and half of a random state's distance.
    """
    rows, away = [], {name: distances(grammar.shape, target, reading) for name, target in targets.items()}
    for (title, world), estimator, (name, target) in product(panels.items(), ESTIMATORS, targets.items()):
        options = {"start": grammar.index(target), "iterations": iterations, "patience": iterations + 1, "reading": reading}
        goal = {name: grammar.index(target)}
        part = runs({name: world[name]}, goal, grammar.shape, seeds, grammar.size + 1, stop=False, estimator=estimator, **options)
        part["distances"] = [away[name][path] for path in part["path"]]
        rows.append(part.assign(landscape=title, estimator=estimator))
    found, perceived = pd.concat(rows, ignore_index=True), list(panels)[1:]
    half = np.array([away[name].mean() / 2 for name in targets])
    scores = {"bound": {"away": np.zeros((len(perceived), len(targets))), "distance": np.tile(half, (len(perceived), 1))}}
    for estimator, part in found[found["landscape"].isin(perceived)].groupby("estimator"):
        walks = np.stack(part["distances"]).reshape(len(perceived), len(targets), len(seeds), -1)
        late = walks[..., 1 + iterations // 2 :]
        scores[f"{estimator}, after"] = {"away": (walks[..., 1:] > 0).mean((2, 3)), "distance": late.mean((2, 3))}
    return found, scores


def failed(rows: pd.DataFrame, walks: pd.DataFrame, estimator: str) -> dict[str, pd.DataFrame]:
    """Failures under reward 1 by kind: stuck (of the estimator), in a loop and left the target (of the forward difference).

    Args:
        rows: of `reach`; walks: of `after`. They are sorted by seed, then input, with the last state in the column last.
    """
    first, later = rows[rows["reward"] == 1], walks[walks["landscape"] == "reward 1"]
    kinds = {"stuck": first[(first["estimator"] == estimator) & (first["ending"] == "stuck")],
             "in a loop": first[(first["estimator"] == "forward") & (first["ending"] == "in a loop")],
             "left the target": later[(later["estimator"] == "forward") & (later["distances"].str[-1] > 0)]}  # fmt: skip
    return {kind: part.sort_values(["seed", "input"]).assign(last=part["path"].str[-1]) for kind, part in kinds.items()}


def left_again(rows: pd.DataFrame, goals: Mapping[str, int], iterations: int = 100) -> np.ndarray:
    """Of runs without the terminal signal that came to the target: the share of the next iterations elsewhere, (runs,)."""
    shares = []
    for name, path in zip(rows["input"], rows["path"], strict=True):
        tail = path[np.argmax(path == goals[name]) + 1 :][:iterations]
        if goals[name] in path and len(tail) == iterations:
            shares.append((tail != goals[name]).mean())
    return np.array(shares)
