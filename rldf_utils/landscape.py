"""Reward landscapes: the reward of every state, perfect or as perceived, and how hard it is to climb."""

import zipfile
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from rldf_utils import grammar as grammars
from rldf_utils import rewards
from rldf_utils.arguments import integer
from rldf_utils.grammar import TABLE_STATES, Encoding, Grammar
from rldf_utils.readings import DEFAULT, Reading
from rldf_utils.results import choose

Reward = Callable[[Mapping[str, str], Mapping[str, str]], float]  #: of (seen, target), each {axis: word}


def perfect(grammar: Grammar, target: Encoding, reward: int | Reward = 1, reading: Reading = DEFAULT) -> np.ndarray:
    """Reward of every state if every image showed exactly its prompt: the perfect landscape, float64 (states,).

    Args:
        reward: 1 or 2, under the reading; or a function of (seen, target) of one's own, as it is.

    Raises:
        ValueError: another reward; of a function, what is no finite number, with the state.
    """
    wanted = grammar.decode(target)
    function = reward if callable(reward) else rewards.semantic(choose("reward", reward, rewards.SEMANTIC), grammar.axes, reading)
    states = range(grammar.limited(TABLE_STATES, "a landscape").size)
    return np.array([number_at(grammar, s, lambda s: function(grammar.decode(grammar.encoding(s)), wanted)) for s in states])


def seen(percepts: Sequence, sentences: Sequence[str], flagged: Container[tuple[str, int]], seed: int) -> np.ndarray:
    """What is perceived in every sentence's image, int (sentences, axes).

    An image that its model flagged (a safety checker blackened it, or it is of one colour) shows nothing: -1 on every axis, a word
    that agrees with none, and a cosine of 0.

    Args:
        percepts: of `Clip.perceive`, one per sentence.
        flagged: of the model, see `cache.TextToImage`.
        seed: of all images.
    """
    found = np.array([percept.encoding for percept in percepts])
    found[[(sentence, seed) in flagged for sentence in sentences]] = -1
    return found


def shown(grammar: Grammar, encoding: Encoding) -> dict[str, str]:
    """The words of what was `seen` in an image; "" on every axis where it shows nothing."""
    return grammar.decode(encoding) if min(encoding) >= 0 else dict.fromkeys(grammar.axes, "")


def perceived(grammar: Grammar, seen: Sequence[Encoding], embeddings: np.ndarray, target: Encoding,
              target_embedding: np.ndarray, reading: Reading = DEFAULT) -> dict[int, np.ndarray]:  # fmt: skip
    """The three reward landscapes of one target as the agent gets them, through the models' eyes.

    Args:
        seen: what was perceived in every state's image, (states,) encodings in index order; see `seen`.
        embeddings: CLIP embeddings of the states' images, (states, d).
        target: the input's perceived encoding; `target_embedding`, (d,), its CLIP embedding.

    Returns:
        {1: multi-semantic, 2: partial-semantic, 3: CLIP}, each float64 (states,), with the reading's C_s and offset.
    """
    words, wanted = [shown(grammar, e) for e in seen], grammar.decode(target)
    functions = {number: rewards.semantic(number, grammar.axes, reading) for number in rewards.SEMANTIC}
    found = {number: np.array([function(w, wanted) for w in words]) for number, function in functions.items()}
    pairs = zip(seen, embeddings, strict=True)
    similar = np.array([rewards.clip_similarity(e, target_embedding) if min(s) >= 0 else 0.0 for s, e in pairs])
    return found | {3: similar + rewards.offset(3, grammar.axes, reading)}


def number_at(grammar: Grammar, state: int, function: Callable[[int], float]) -> float:
    """What a function of the state number returns at a state, as a finite float; else an error that names the state."""
    where = f"state {state}, {grammar.surface(grammar.encoding(state))!r}"
    try:
        value = function(state)
    except Exception as error:
        error.add_note(f"raised by the reward at {where}")
        raise
    number = value.item() if getattr(value, "ndim", None) == 0 else value
    if not isinstance(number, int | float):
        raise ValueError(f"the reward is no number at {where}: {value!r}")
    if not np.isfinite(number):
        raise ValueError(f"the reward is not finite at {where}: {number}")
    return float(number)


def load(
    path: Path, draw: int = 0, reading: Reading = DEFAULT, inputs: int = 0
) -> tuple[Grammar, np.ndarray, dict[str, Encoding], dict[str, dict[int, np.ndarray]]]:
    """What notebook 2 perceived, on whichever machine it did.

    Args:
        path: its landscape.npz.
        draw: which of the pictures of every state: 0 or 1.
        inputs: 0 for notebook 2's; or how many pictures of the other draw, spread over the states, are the inputs instead.

    Returns:
        (grammar, seen (states, axes), input -> target, input -> the three landscapes of `perceived`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, was written by another version of notebook 2, does not fit its grammar, or holds
            a NaN.
    """
    integer("draw", draw, 0, 1)
    again = "; run notebook 2 again"
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}{again}") from None
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a landscape.npz ({error}){again}") from None
    fields = ("grammar_text", "grammar_name", "seen", "embeddings", "inputs", "targets", "target_embeddings")
    if missing := [name for name in fields if name not in arrays]:
        raise ValueError(f"{path} has no {', '.join(missing)}: it is from another version{again}")
    grammar = grammars.from_text(str(arrays["grammar_text"]), str(arrays["grammar_name"]))
    seen, embeddings, wanted = arrays["seen"], arrays["embeddings"], arrays["target_embeddings"]
    names, targets = arrays["inputs"].tolist(), [tuple(t) for t in arrays["targets"].tolist()]
    if seen.shape != (2, grammar.size, len(grammar.axes)) or embeddings.shape[:2] != seen.shape[:2]:
        raise ValueError(f"{path} holds {seen.shape[1]} states, the grammar {grammar.name} has {grammar.size}{again}")
    if not (np.isfinite(embeddings).all() and np.isfinite(wanted).all()):
        raise ValueError(f"{path} holds embeddings that are not finite{again}")
    if inputs:
        chosen = [grammar.index(e) for e in grammar.spread(integer("inputs", inputs), np.random.default_rng(0))]
        chosen = [state for state in chosen if seen[1 - draw, state].min() >= 0]  # a flagged picture is nobody's input
        names, wanted = [f"{i}: {state}" for i, state in enumerate(chosen)], embeddings[1 - draw, chosen]
        targets = [tuple(words) for words in seen[1 - draw, chosen].tolist()]
    seen, embeddings = seen[draw], embeddings[draw]
    words = [tuple(s) for s in seen.tolist()]
    landscapes = {n: perceived(grammar, words, embeddings, t, w, reading) for n, t, w in zip(names, targets, wanted, strict=True)}
    return grammar, seen, dict(zip(names, targets, strict=True)), landscapes


def optima(values: np.ndarray, transitions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plateaus of a landscape and the local optima among them, exactly.

    A plateau is a largest connected set of states of one value; it is a local optimum if no neighbour of it is higher.

    Args:
        values: reward of every state, (states,).
        transitions: of `transition_table`.

    Returns:
        (plateau of every state, int (states,); whether it is a local optimum, bool (plateaus,)).
    """
    size = len(values)
    level = values[transitions] == values[:, None]
    rows = np.broadcast_to(np.arange(size)[:, None], transitions.shape)[level]
    count, plateau = connected_components(coo_array((np.ones(len(rows)), (rows, transitions[level])), (size, size)), directed=False)
    maximal = np.ones(count, bool)
    maximal[plateau[(values[transitions] > values[:, None]).any(1)]] = False
    return plateau, maximal


def ascent(values: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Where steepest ascent ends from every state, int (states,); it stops where no neighbour is higher."""
    best = transitions[np.arange(len(values)), values[transitions].argmax(1)]
    end = np.where(values[best] > values, best, np.arange(len(values)))
    while (end[end] != end).any():
        end = end[end]
    return end


def roughness(values: np.ndarray, transitions: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """How hard a landscape is to climb to the state of distance 0.

    Returns:
        values: distinct rewards; changes: share of steps that change the reward, borders aside; optima: local optima;
        on_optima: share of states on one; target_basin: share of states from which steepest ascent ends at the target;
        largest_basin: the same of the end that draws most; rank_correlation: Spearman's, of reward and nearness.
    """
    plateau, maximal = optima(values, transitions)
    ends = np.bincount(ascent(values, transitions), minlength=len(values)) / len(values)
    moves = transitions != np.arange(len(values))[:, None]
    return {
        "values": len(np.unique(values)), "changes": float((values[transitions] != values[:, None])[moves].mean()),
        "optima": int(maximal.sum()), "on_optima": float(maximal[plateau].mean()),
        "target_basin": float(ends[distance == 0][0]), "largest_basin": float(ends.max()),
        "rank_correlation": float(spearmanr(values, -distance).statistic),
    }  # fmt: skip
