"""The experiments behind section 5's claims: each fills conditions of `claims.CLAIMS` with scores.

A condition's scores are (strata, runs): inputs or goals, and seeds that are the same in the conditions compared.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from rldf_utils import agents, compiled, landscape, rewards, sweep
from rldf_utils import grammar as grammars
from rldf_utils.claims import BETTER, Scores
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.readings import Reading

Q = {"agent": "Q", "epsilon": 0.1}


def _walks(
    worlds: Mapping[str, RLDFEnv], seeds: Sequence[int], steps: int, setting: Mapping = Q
) -> list[tuple[RLDFEnv, np.ndarray, np.ndarray]]:
    return [(env, *sweep.runs(env, setting, seeds, steps)) for env in worlds.values()]


def arrivals(env: RLDFEnv, states: np.ndarray) -> np.ndarray:
    """Logarithm of 1 + how often each run came to the target, (runs,): other than `reached`, it has no ceiling."""
    return np.log1p((states == env.target).sum(1))


def misread(grammar: Grammar, seen: np.ndarray, targets: Mapping[str, Encoding], seeds: Sequence[int], steps: int, shares: Sequence[float],
            reading: Reading) -> Scores:  # fmt: skip
    """Q-learning, reward 1, where a share of the perceived words is replaced by another of the axis at random: log arrivals.

    Each pair of seeds has misread words of its own, so that the interval holds their chance too: (inputs, pairs). Beside
    them two controls: the rewards shuffled over the states, and nothing changed but the agents' seeds. `steps` must be
    many: under a cost per step each untried action looks best, and until all are tried no reward matters.
    """
    names = ["as perceived" if not share else f"{share * 100:g} % of words misread" for share in shares]
    found = {name: np.empty((len(targets), len(seeds) // 2)) for name in (*names, "shuffled rewards", "other seeds")}
    for pair in range(len(seeds) // 2):
        two = seeds[2 * pair : 2 * pair + 2]
        rng = np.random.default_rng([two[0], 7])
        wrong, chance = (seen + rng.integers(1, grammar.shape, seen.shape)) % grammar.shape, rng.random(seen.shape)
        for row, target in enumerate(targets.values()):
            paid = _by_matches(grammar, target, reading)
            match = [(np.where(chance < share, wrong, seen) == target).astype(int) for share in shares]
            worlds = [paid[tuple(m.T)] for m in match]
            worlds += [rng.permutation(worlds[0]), worlds[0]]
            for name, values in zip(found, worlds, strict=True):
                env = RLDFEnv(grammar, target, values, reading=reading)
                who = [seed + 500_000 * (name == "other seeds") for seed in two]
                found[name][row, pair] = arrivals(env, sweep.runs(env, Q, who, steps)[0]).mean()
    doses = 10 * (np.array(shares) - np.mean(shares))
    slope = np.tensordot(doses, [found[name] for name in names], 1) / (doses @ doses)
    return {name: {"log arrivals": scores} for name, scores in found.items()} | {
        "by dose": {"slope": slope}, "no dose": {"slope": np.zeros_like(slope)}}  # fmt: skip


def _by_matches(grammar: Grammar, target: Encoding, reading: Reading) -> np.ndarray:
    """Reward 1 by which axes match the target, float64 (2, 2, ...)."""
    wanted, reward = grammar.decode(target), rewards.semantic(1, grammar.axes, reading)
    looks = product(*((None, word) for word in wanted.values()))  # None is no word, so it matches none
    return np.array([reward(dict(zip(wanted, look, strict=True)), wanted) for look in looks]).reshape((2,) * len(wanted))


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

    Measures: log arrivals and looping, (goals, seeds); log spread: of the standard deviation over the runs of the learnt
    Q, mean over the table, (1, goals).

    Args:
        draws: embeddings of the pictures, (draws, states, d); goals: target states; aims: the inputs' embeddings, (goals, d).
    """
    scores: Scores = {}
    for name, pictures in (("fixed seeds", np.repeat(draws[:1], len(draws), 0)), ("moving seeds", draws)):
        found = {"log arrivals": [], "looping": [], "log spread": []}
        for goal, aim in zip(goals, aims, strict=True):
            env = RLDFEnv(grammar, grammar.encoding(goal), _similar(pictures, aim, grammar, reading), reading=reading)
            learners = [agents.make("Q", env, Q["epsilon"], seed=seed) for seed in seeds]
            walks = [compiled.run(env, learner, steps, seed) for learner, seed in zip(learners, seeds, strict=True)]
            found["log arrivals"].append(arrivals(env, np.stack([walk.states for walk in walks])))
            found["looping"].append(looping(np.stack([walk.rewards for walk in walks])))
            found["log spread"].append(np.log(np.std([learner.q for learner in learners], axis=0).mean()))
        scores[name] = {measure: np.atleast_2d(values) for measure, values in found.items()}
    return scores


def _similar(pictures: np.ndarray, aim: np.ndarray, grammar: Grammar, reading: Reading) -> np.ndarray:
    """Reward 3 of embeddings, (..., d), under a reading."""
    unit = pictures / np.linalg.norm(pictures, axis=-1, keepdims=True)
    return unit @ (aim / np.linalg.norm(aim)) + rewards.offset(3, grammar.axes, reading)


def looping(paid: np.ndarray, length: int = 4) -> np.ndarray:
    """Share of steps, (runs,), at which the last `length` rewards are those just before them, in the same order."""
    same = paid[:, length:] == paid[:, :-length]
    windows = np.lib.stride_tricks.sliding_window_view(same, length, axis=1)
    return windows.all(-1).mean(1)


def greedy(values: np.ndarray, env: RLDFEnv, rng: np.random.Generator, walks: int = 1, steps: int = 100) -> float:
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
    """Conditions of the claims on growth, from `growth` of both agents; sizes in their order: small, base, large, ..., largest.

    The slope is over all sizes; where a size has k times as many runs as the largest, k of them are one by their mean. A run
    that never arrived counts with its cap, which is too little.
    """
    sizes = sorted(grown["states"].unique())
    part = {key: p.sort_values("seed") for key, p in grown.groupby(["states", "agent"])}
    logs = {key: {"log steps": np.log(p["steps"].to_numpy()), "log calls": np.log(p["calls"].to_numpy())} for key, p in part.items()}
    small, base, large = sizes[:3]
    groups, x = len(part[sizes[-1], "Q"]), np.log10(sizes) - np.log10(sizes).mean()
    behind = [(logs[size, "Random"]["log steps"] - logs[size, "Q"]["log steps"]).reshape(-1, groups).mean(0) for size in sizes]
    slope = x @ behind / (x @ x)
    within = {name: (part[size, "Q"]["steps"] <= limit).to_numpy() for name, size, limit in (("base", base, 1000), ("large", large, 9000))}
    return {
        "small, Random": logs[small, "Random"], "base, Random": logs[base, "Random"], "base, Q": {"arrived": within["base"]},
        "large, Q": logs[large, "Q"] | {"arrived": within["large"]},
        "twice base, Q": {"log calls": logs[base, "Q"]["log calls"] + np.log(2)},
        "by size": {"slope": slope}, "at any size": {"slope": np.zeros_like(slope)},
    }  # fmt: skip


def three_measures(env: RLDFEnv, states: np.ndarray, paid: np.ndarray) -> pd.DataFrame:
    """One row per run: reached, D_f, reward per step."""
    distance = env.distance[states]
    return pd.DataFrame({"reached": (distance == 0).any(1).astype(float), "D_f": distance[:, -1], "reward per step": paid.mean(1)})


def epsilons(rows: pd.DataFrame) -> Scores:
    """Epsilon 0.1 and the best one, which half of the runs choose, per measure, as the other half finds them; of `three_measures`."""
    found: Scores = {"epsilon 0.1": {}, "best epsilon": {}}
    for measure, sign in BETTER.items():
        by = {epsilon: part[measure].to_numpy() for epsilon, part in rows.groupby("epsilon")}
        best = max(by, key=lambda epsilon: sign * by[epsilon][::2].mean())
        found["epsilon 0.1"][measure], found["best epsilon"][measure] = by[0.1][1::2], by[best][1::2]
    return found


def finer(prompt: str) -> Grammar:
    """The sentences that say of a sentence of the base world also its style, weather and time; the first is the sentence itself."""
    base, text = grammars.load("base"), grammars.load("full").text
    words = {axis: base.words[axis][word] for axis, word in zip(base.axes, base.parse(prompt), strict=True)}
    for axis, word in (dict.fromkeys(("Verb", "Colour", "Age", "Tone"), "") | {"Gender": "person/people"} | words).items():
        text = re.sub(rf"^{axis} -> .*$", f"{axis} -> '{word}'", text, flags=re.MULTILINE)
    return grammars.from_text(text, "finer")


def past_goal(inputs: Sequence[tuple], seeds: Sequence[int], steps: int, reading: Reading) -> Scores:
    """Q-learning, reward 3, that goes on over the axes of `finer` from the sentence that was found, state 0.

    Its answer is the state of highest reward that it saw. Measure: the share of the axes on which the answer's picture shows
    what the input has, mean over the seeds, (1, goals); beside it the same of state 0, and of all pictures. No inputs fill
    no condition.

    Args:
        inputs: (grammar, pictures, shown, goals, aims) per sentence: the pictures' embeddings, (states, d); what each
            shows, {axis: word}, by eyes that the search does not have; the states whose words the inputs have; the
            inputs' embeddings, (goals, d).
    """
    found = {"past the goal": [], "at the goal": [], "any picture": []}
    for grammar, pictures, shown, goals, aims in inputs:
        for goal, aim in zip(goals, aims, strict=True):
            wanted = grammar.decode(grammar.encoding(goal))
            right = np.array([np.mean([words[axis] == wanted[axis] for axis in wanted]) for words in shown])
            values, first = _similar(pictures, aim, grammar, reading), (0,) * len(grammar.axes)
            env = RLDFEnv(grammar, grammar.encoding(goal), values, first, reading=replace(reading, end="go on", bonus=0.0))
            states = np.pad(sweep.runs(env, Q, seeds, steps)[0], ((0, 0), (1, 0)))
            answers = states[np.arange(len(states)), values[states].argmax(1)]
            for name, share in zip(found, (right[answers].mean(), right[0], right.mean()), strict=True):
                found[name].append(share)
    return {name: {"finer": np.array([shares])} for name, shares in found.items() if shares}
