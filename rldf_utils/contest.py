"""Search methods compared: many inputs, many seeds, one table; and the sentences found, judged by what no method saw."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rldf_utils import agents, landscape, peers, stats
from rldf_utils.cache import blank
from rldf_utils.factored import AGAIN, spare
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.looks import Looks
from rldf_utils.perceive import Clip
from rldf_utils.readings import DEFAULT, PRINTED
from rldf_utils.results import choose

BUDGETS = (8, 16, 32, 64, 128, 240, 480)
#: method -> the settings of which one is chosen on other inputs
TRIED: dict[str, tuple[dict, ...]] = {
    "consistent": tuple({"error": e} for e in (0.01, 0.05, 0.2)),
    "Thompson, additive": tuple({"noise": s} for s in (0.1, 0.3, 1.0)),
    "UCB, additive": tuple({"noise": 0.3, "width": w} for w in (0.25, 0.5, 1.0)),
    "TPE": tuple({"n_startup_trials": n} for n in (5, 10, 20)),
    "GA": tuple({"population_size": n} for n in (5, 10, 20)),
    "hill-climb": ({"steepest": False}, {"steepest": True}),
    **{name: tuple({"epsilon": e} for e in (0.01, 0.1, 0.3)) for name in ("Q", "SARSA", "Q, printed", "SARSA, printed")},
}
SLOW = ("TPE", "GA")  #: methods of milliseconds per proposal: fewer calls and seeds


@dataclass(frozen=True)
class Input:
    """One input: what it shows, what is perceived in it, and the rewards of every state's pictures.

    `rewards` maps (reward, reading's offset) to float64 (draws, states).
    """

    truth: Encoding
    target: Encoding
    embedding: np.ndarray
    rewards: Mapping[tuple[int, str], np.ndarray]


def inputs(grammar: Grammar, truths: Sequence[Encoding], pictures: Sequence[np.ndarray], clip: Clip, seen: np.ndarray,
           embeddings: np.ndarray) -> list[Input]:  # fmt: skip
    """The inputs of pictures that show `truths`; seen, (draws, states, axes), and embeddings, (draws, states, d): of the world."""
    aims, found = clip.embed_images(pictures), []
    words = [[tuple(state) for state in draw] for draw in seen.tolist()]
    for truth, aim, percept in zip(truths, aims, clip.read(aims, grammar), strict=True):
        rewards = {}
        for kind in (DEFAULT, PRINTED):
            layers = [landscape.perceived(grammar, *draw, percept.encoding, aim, kind) for draw in zip(words, embeddings, strict=True)]
            rewards |= {(number, kind.offset): np.stack([layer[number] for layer in layers]) for number in (1, 2, 3)}
        found.append(Input(truth, percept.encoding, aim, rewards))
    return found


def runs(grammar: Grammar, given: Sequence[Input], method: str, reward: int, seeds: Sequence[int], calls: int, draws: int = 1,
         **settings) -> list[list[Looks]]:  # fmt: skip
    """What a method looked at for every input and seed.

    With fixed seeds (`draws` 1) a run ends as soon as nothing can change any more: the target was looked at, and so was a
    state of the highest reward, which the answer then is.
    """
    function, defaults = peers.METHODS[choose("method", method, peers.METHODS)]
    offset, found = defaults.get("reading", DEFAULT).offset, []
    for one in given:
        values, target = one.rewards[reward, offset][:draws], grammar.index(one.target)
        stop = ({target}, best(values)) if draws == 1 else None
        if defaults.get("agent") in agents.AGENTS and draws == 1:
            found.append(peers.walks(values[0], grammar.shape, target, seeds, calls, stop, **(defaults | settings)))
        else:
            found.append([peers.race(method, values, grammar.shape, calls, seed, target, stop, **settings) for seed in seeds])
    return found


def best(values: np.ndarray) -> set[int]:
    """The states of the highest mean reward; values: (draws, states)."""
    mean = values.mean(0)
    return set(np.flatnonzero(mean >= mean.max() - 1e-12).tolist())


def chosen(grammar: Grammar, given: Sequence[Input], seeds: Sequence[int], calls: int, slow_calls: int) -> pd.DataFrame:
    """Every setting of `TRIED` on inputs that the comparison does not use, rewards 1 and 3 (`consistent`: 1 alone).

    Returns:
        One row per setting: method, setting, score (geometric mean of the calls that a run needed, unsolved ones counted as
        they are), calls (spent on it), chosen (whether it has the method's best score).
    """
    rows = []
    for method, options in TRIED.items():
        slow = method in SLOW
        for setting in options:
            looks = [look for reward in (1, 3)[: 1 if method == "consistent" else 2]
                     for row in runs(grammar, given, method, reward, seeds[: 1 if slow else None], slow_calls if slow else calls, **setting)
                     for look in row]  # fmt: skip
            used = np.array([len(look.states) for look in looks])
            rows.append({"method": method, "setting": setting, "score": float(np.exp(np.log(used).mean())), "calls": int(used.sum())})
    table = pd.DataFrame(rows)
    return table.assign(chosen=table.index.isin(table.groupby("method")["score"].idxmin()))


@dataclass(frozen=True)
class Result:
    """A method's runs on one reward, all arrays (inputs, seeds, calls): what was so after each call.

    `calls` are those that the method was given; later columns say nothing.
    """

    method: str
    reward: int
    draws: int
    reached: np.ndarray  #: the perceived target was looked at
    right: np.ndarray  #: the answer is a state of the highest mean reward
    answer: np.ndarray  #: state
    used: np.ndarray  #: calls of each run, (inputs, seeds)
    proposals: np.ndarray  #: the same
    moves: np.ndarray  #: the same: steps of one word from each call to the next, at least
    seconds: float  #: of all runs together


def measure(grammar: Grammar, given: Sequence[Input], method: str, reward: int, seeds: Sequence[int], calls: int, draws: int = 1,
            **settings) -> Result:  # fmt: skip
    """Run a method on every input with every seed; arguments of `runs`."""
    started = time.perf_counter()
    looks = runs(grammar, given, method, reward, seeds, calls, draws, **settings)
    seconds = time.perf_counter() - started
    shape = len(given), len(seeds), calls
    reached, right, answer = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, np.int32)
    for i, (one, row) in enumerate(zip(given, looks, strict=True)):
        target, top = grammar.index(one.target), np.zeros(grammar.size, bool)
        top[list(best(one.rewards[reward, DEFAULT.offset][:draws]))] = True
        for j, look in enumerate(row):
            states, said = np.array(look.states), look.found()
            after = np.minimum(np.arange(calls), len(states) - 1)  # when a method is done, its last answer stays
            reached[i, j] = np.logical_or.accumulate(states == target)[after]
            right[i, j], answer[i, j] = top[said][after], said[after]
    kinds = (lambda look: len(look.states), lambda look: look.proposals, lambda look: moves(look.states, grammar.shape))
    counts = [np.array([[kind(look) for look in row] for row in looks]) for kind in kinds]
    return Result(method, reward, draws, reached, right, answer, *counts, seconds)


def moves(states: Sequence[int], shape: tuple[int, ...]) -> int:
    """Steps of one word along one axis that lead from each state to the next."""
    return int(np.abs(np.diff(np.unravel_index(states, shape))).sum())


def expected_running_time(solved: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Of every run, the calls until it was solved for good, or all that it used, and whether it was: (2, inputs, seeds).

    The sums of the two are in the ratio that the benchmark COCO calls ERT. solved: (inputs, seeds, calls).
    """
    ever, lasting = solved[..., -1], np.logical_and.accumulate(solved[..., ::-1], -1).sum(-1)
    return np.stack([np.where(ever, solved.shape[-1] - lasting + 1, used), ever])


def row(result: Result, rng: np.random.Generator) -> list[dict]:
    """Two rows of the table, with and without the stop signal: success at each budget, and the expected running time."""
    rows = []
    for signal, solved in (("stop", result.reached), ("answer", result.right)):
        line = {"method": result.method, "reward": result.reward, "seeds": "fixed" if result.draws == 1 else "moving",
                "solved by": signal, "n": result.used.size}  # fmt: skip
        for budget in BUDGETS:
            if budget <= solved.shape[-1]:
                at = solved[..., budget - 1].astype(float)
                low, high = stats.nested(at, rng)
                line |= {str(budget): at.mean(), f"{budget} low": low, f"{budget} high": high}
        times = expected_running_time(solved, result.used)
        low, high = stats.nested(times, rng, lambda drawn: drawn[0].sum(-1) / np.maximum(drawn[1].sum(-1), 1e-9))
        spent, successes = times.sum((1, 2))
        if successes:
            line |= {"ERT": spent / successes, "ERT low": low} | ({"ERT high": high} if high < 1e6 else {})  # a sample without success
        for name, share in (("median", 0.5), ("90 %", 0.9)):
            until = np.quantile(np.where(times[1] > 0, times[0], np.inf), share, method="inverted_cdf")
            line |= {name: float(until)} if np.isfinite(until) else {}
        line |= {"moves": result.moves.mean(), "proposals": result.proposals.mean()}
        rows.append(line | {"ms": 1000 * result.seconds / result.used.size})
    return rows


def fewer(found: Sequence[Result], pairs: Sequence[tuple[str, str]], rng: np.random.Generator, smallest: float = 0.1) -> pd.DataFrame:
    """Whether the first method of each pair needs fewer calls than the second until its answer is right for good.

    Of rewards 1 and 3 together, paired by input and seed; unsolved runs count with what they used. The claim is that it
    needs at least `smallest` fewer, as a share.

    Returns:
        One row per pair: claim, ratio of calls (geometric mean) with its 95 % interval low to high, n (the seeds, which are
        drawn), verdict, and the seeds that would decide what is undecided.
    """
    rows = []
    for pair in pairs:
        calls = [np.concatenate([expected_running_time(r.right, r.used)[0] for r in found if r.method == method and r.reward != 2])
                 for method in pair]  # fmt: skip
        effect = stats.effect(*np.log(calls), rng)
        ratio = {name: float(np.exp(effect[key])) for name, key in (("ratio of calls", "difference"), ("low", "low"), ("high", "high"))}
        least = -np.log(1 - smallest)
        word = stats.verdict(effect["low"], effect["high"], -1, least)
        needed = stats.enough(word, effect["n"], effect["low"], effect["high"], effect["difference"] + least)
        rows.append({"claim": f"{pair[0]} needs fewer calls than {pair[1]}", **ratio, "n": effect["n"], "verdict": word,
                     "n to decide": needed})  # fmt: skip
    return pd.DataFrame(rows)


def own(grammar: Grammar, given: Sequence[Input], reward: int, seeds: Sequence[int], calls: int) -> np.ndarray:
    """What the factored agent itself says after so many calls, with fixed seeds, states (inputs, seeds).

    Its last calls are further pictures of what may be the answer, those of the world's other draws: `Factored.answer`.
    """
    calls = min(calls, grammar.size)
    answers, left = [], spare(calls)
    for one in given:
        pictures, target = one.rewards[reward, DEFAULT.offset], grammar.index(one.target)
        more = {"spare": pictures[1 : 1 + AGAIN]} if left else {}
        looks = [peers.race("factored agent", pictures[:1], grammar.shape, calls - left, seed, target, **more) for seed in seeds]
        answers.append([look.answer for look in looks])
    return np.array(answers)


def judged(grammar: Grammar, given: Sequence[Input], results: Sequence[Result], budget: int, clip: Clip, judge: Callable,
           draw: Callable[[list[int]], np.ndarray], seeds: int, answers: Mapping = {}) -> pd.DataFrame:  # noqa: B006 # fmt: skip
    """The sentences that fixed seeds found by `budget` calls, drawn anew and looked at by eyes that no method has.

    Args:
        draw: fresh pictures of states, (fresh, states, height, width, 3).
        seeds: how many runs per input are judged.
        answers: a method's own ones, (method, reward) -> states (inputs, seeds), as of `own`: rows "<method>, own answer".

    Returns:
        One row per method and reward, and the row "true sentence": axes, the share of axes on which the fresh pictures show what the
        input truly has; all, the share with all of them right; believed, the reward that the method saw; fresh, the reward
        of the fresh pictures by the same eyes; gap, their difference.
    """
    found = {}
    for r in results:
        found[r.method, r.reward] = r.answer[:, :seeds, min(budget, r.answer.shape[-1]) - 1]
        if (r.method, r.reward) in answers:
            found[f"{r.method}, own answer", r.reward] = answers[r.method, r.reward][:, :seeds]
    truth = np.array([[grammar.index(one.truth)] for one in given])
    found |= {("true sentence", reward): truth for reward in dict.fromkeys(r.reward for r in results)}
    states = sorted(set(np.concatenate([a.ravel() for a in found.values()]).tolist()))
    pictures = draw(states)
    embeddings = [clip.embed_images(layer) for layer in pictures]
    nothing = (-1,) * len(grammar.axes)  # see `landscape.seen`
    seen = [[nothing if blank(image) else p.encoding for image, p in zip(layer, clip.read(vectors, grammar), strict=True)]
            for layer, vectors in zip(pictures, embeddings, strict=True)]  # fmt: skip
    shown = [judge(layer) for layer in pictures]
    place = {state: k for k, state in enumerate(states)}
    rows = []
    for (method, reward), states in found.items():
        axes, complete, believed, fresh = [], [], [], []
        for one, said in zip(given, states, strict=True):
            wanted, at = grammar.decode(one.truth), [place[s] for s in said.tolist()]
            believed += one.rewards[reward, DEFAULT.offset][0, said].tolist()
            for layer, eyes, vectors in zip(shown, seen, embeddings, strict=True):
                agree = np.array([[layer[k][axis] == word for axis, word in wanted.items()] for k in at])
                axes += agree.mean(1).tolist()
                complete += agree.all(1).tolist()
                fresh += landscape.perceived(grammar, [eyes[k] for k in at], vectors[at], one.target, one.embedding)[reward].tolist()
        half = stats.nested(np.array(complete, float).reshape(len(given), -1), np.random.default_rng(0))
        rows.append({"method": method, "reward": reward, "axes": np.mean(axes), "all": np.mean(complete), "all low": half[0],
                     "all high": half[1], "believed": np.mean(believed), "fresh": np.mean(fresh)})  # fmt: skip
    return pd.DataFrame(rows).eval("gap = believed - fresh")
