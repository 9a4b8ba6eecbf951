"""Figure 8 with numbers: a style and a thing that the encoding leaves out, beside two remedies that need no training."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline

from rldf_utils import fid, stats
from rldf_utils.captions import Semantics, shows
from rldf_utils.generate import Cache, Diffusers
from rldf_utils.grammar import Grammar, from_text
from rldf_utils.tiny.judge import Judge  # stands in for whoever tells a painter's style and a character
from rldf_utils.tiny.sampling import FULL  # stands in for a vocabulary that names them
from rldf_utils.tiny.world import nouns  # stands in for a thesaurus: what lies near a thing


@dataclass(frozen=True)
class Concept:
    """A word of an axis that is to be left out."""

    axis: str
    word: str
    generic: str  #: the word that takes its place in the encoding
    neighbours: tuple[str, ...]  #: words that stand for indirect prompts
    text: str  #: what the remedies push away from: the shortest text that the small models take for the concept


def _others(words: Sequence[str], *without: str) -> tuple[str, ...]:
    return tuple(word for word in words if word not in without)


THING, DOMAIN = "teddy bear", nouns()["teddy bear"][1]
CONCEPTS = {
    "style": Concept("Style", "an oil painting of", "a photo of", _others(FULL.axes["Style"], "an oil painting of", "a photo of"),
                     "an oil painting of"),
    "thing": Concept("Noun", THING, "camera", _others([n for n, (_, domain) in nouns().items() if domain == DOMAIN], THING, "camera"),
                     f"a photo of one {THING}"),
}  #: in place of the paper's painter and character; of the thing, neighbours are what OpenMoji files beside it  # fmt: skip
PAPER = {"an oil painting of": "a Van Gogh painting of", "teddy bears": "Snoopies", "teddy bear": "Snoopy"}  #: ours -> the paper's
NEGATIVE, AWAY = REMEDIES = ("negative prompt", "guidance away")
SETS = ("said", "left out", "neighbours")  #: sentences, drawn by the plain model
HARMED = {f"{remedy}, {part}": of for part, of in (("neighbours", "neighbours"), ("rest", "left out")) for remedy in REMEDIES}
CONDITIONS = (*SETS, *REMEDIES, *HARMED)  #: the remedies' sentences say the word, a neighbour, or neither (the rest)
OMITTED = ("left out", "neighbours", *HARMED)  #: conditions whose sentences do not say the word
BESIDE = {"left out": "said", **dict.fromkeys(REMEDIES, "said"), **HARMED}  #: the plain model's pictures of these sentences, for KID
RENDERS = ("renders, said", "renders, omitted")  #: what the judge sees in true pictures: its hits, and the base rate
LEAK, LOSS = 0.01, 0.02  #: smallest effects of interest: share of pictures that show the concept, share of axes that are right


def retold(text: str, scale: str) -> str:
    """A text; at paper scale with the paper's painter and character for our words."""
    for ours, theirs in PAPER.items() if scale == "paper" else ():
        text = text.replace(ours, theirs)
    return text


def spoken(scale: str) -> Grammar:
    """The grammar whose sentences are drawn: the full one, `retold`. Its encodings mean the same at every scale."""
    return from_text(retold(FULL.text, scale), FULL.name)


def sentences(concept: Concept, contexts: Sequence[Semantics]) -> dict[str, list[dict[str, str]]]:
    """The semantics of `SETS`: contexts with the word, the generic word, and the neighbours in turn, on the concept's axis."""
    words = (concept.word,), (concept.generic,), concept.neighbours
    return {name: [{**context, concept.axis: part[i % len(part)]} for i, context in enumerate(contexts)]
            for name, part in zip(SETS, words, strict=True)}  # fmt: skip


class Away(Diffusers):
    """A diffusion model whose guidance leads away from a concept, too; it needs no training.

    With the predictions u (unconditional), c (prompt) and e (concept), u' = (1 - weight) u + weight e takes the place of u:
    0 is the plain model, 1 is the concept as negative prompt, more pushes further. As weights of u and e add up to 1, it is
    the same for predictions of the noise and of v. e is a third pass.

    Args:
        concept: a text.
        settings: of `Diffusers`.
    """

    def __init__(self, model: str, concept: str, weight: float, **settings):
        super().__init__(model, **settings)
        self.concept, self.weight = concept, weight
        self.fingerprint = hashlib.sha256(json.dumps([self.fingerprint, concept, weight]).encode()).hexdigest()[:16]

    @cached_property
    def pipe(self) -> StableDiffusionPipeline:
        """The pipeline, around whose UNet the third pass is."""
        pipe = super().pipe
        plain, concept = pipe.unet.forward, pipe.encode_prompt(self.concept, self.device, 1, False)[0]

        def forward(sample: torch.Tensor, timestep, encoder_hidden_states: torch.Tensor, **options) -> tuple[torch.Tensor]:
            unconditional, prompt = plain(sample, timestep, encoder_hidden_states, **options)[0].chunk(2)
            n = len(prompt)
            away = plain(sample[:n], timestep, concept.expand(n, -1, -1), **options)[0]
            return (torch.cat([unconditional + self.weight * (away - unconditional), prompt]),)

        pipe.unet.forward = forward
        return pipe


def remedies(plain: Diffusers, text: str, weight: float = 2.0) -> dict[str, Diffusers]:
    """The model with a text as negative prompt, and with guidance away from it; all else as in `plain`."""
    name, revision, negative = (plain.recipe[key] for key in ("model", "revision", "negative"))
    settings = {"revision": revision, **json.loads(plain.recipe["settings"])}
    both = ", ".join(part for part in (negative, text) if part)
    return {NEGATIVE: Diffusers(name, negative=both, **settings), AWAY: Away(name, text, weight, negative=negative, **settings)}


def plan(plain: Cache, concept: Concept, contexts: Sequence[Semantics], scale: str) -> dict[str, tuple[Cache, list[dict[str, str]]]]:
    """Who draws what: condition -> (model, semantics). The plain model and the remedies draw the same sentences."""
    sets = sentences(concept, contexts)
    found = {name: (plain, sets[name]) for name in SETS}
    for remedy, model in remedies(plain.model, retold(concept.text, scale)).items():
        cached = Cache(model, plain.folder.parent)
        drawn = {remedy: "said"} | {condition: of for condition, of in HARMED.items() if condition.startswith(remedy)}
        found |= {condition: (cached, sets[of]) for condition, of in drawn.items()}
    return {condition: found[condition] for condition in CONDITIONS}


def looked(concept: Concept, eyes: Judge, pictures: np.ndarray, wanted: Sequence[Semantics], known: np.ndarray) -> pd.DataFrame:
    """One row per picture: `shows`, whether the judge sees the concept; `right`, whether it sees the axis's word as wanted (NaN
    where it cannot show); `others`, the share of the other axes that it sees as wanted; `distance` to the nearest of the
    known features, the judge's of training pictures with the concept."""
    rows = []
    for words, truth in zip(eyes(pictures), wanted, strict=True):
        right = shows(words, truth)
        own = right.pop(concept.axis, np.nan)
        rows.append({"shows": words[concept.axis] == concept.word, "right": float(own), "others": np.mean(list(right.values()))})
    gaps = torch.cdist(*map(torch.from_numpy, (eyes.features(pictures), known)))
    return pd.DataFrame(rows).assign(distance=gaps.min(1).values.numpy())


Frames = Mapping[tuple[str, str], pd.DataFrame]  #: (condition, model) -> rows of `looked`; the same contexts in the same order


def pooled(frames: Frames) -> dict[tuple[str, str], pd.DataFrame]:
    """The frames, and for each condition those of all models together, as the model "both", if there is more than one."""
    return _together(frames, pd.concat)


def _together(parts: Mapping[tuple[str, str], Any], join: Callable) -> dict[tuple[str, str], Any]:
    """`pooled` of anything; `join` takes {model: part}."""
    names = dict.fromkeys(name for _, name in parts)
    both = {(condition, "both"): join({name: parts[condition, name] for name in names})
            for condition in dict.fromkeys(condition for condition, _ in parts) if len(names) > 1}  # fmt: skip
    return {**both, **parts}


def rows(frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
    """One row per condition and model: n, the share that shows the concept, and what else is right, with 95 % intervals.

    `in-domain`: the axis's own word, where the sentence does not say the concept; `cross-domain`: the other axes; `distance`: the
    median.
    """
    table = []
    for (condition, name), frame in frames.items():
        row = {"condition": condition, "model": name, "n": len(frame)}
        own = frame["right"].dropna() if condition in (*OMITTED, RENDERS[1]) else ()
        for column, values in (("shows", frame["shows"]), ("in-domain", own)):
            row[column] = np.mean(values) if len(values) else np.nan
            row[f"{column} low"], row[f"{column} high"] = stats.wilson(int(sum(values)), len(values)) if len(values) else (np.nan, np.nan)
        row["cross-domain"] = frame["others"].mean()
        row["cross-domain low"], row["cross-domain high"] = stats.interval(frame["others"], rng, lambda drawn: drawn.mean(-1))
        table.append({**row, "distance": frame["distance"].median()})
    return pd.DataFrame(table)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`rows` for the eye: shares as text with their intervals."""
    shown = table[["concept", "condition", "n"]].copy()
    for column in ("shows", "in-domain", "cross-domain"):
        ends = zip(*(table[name] for name in (column, f"{column} low", f"{column} high")), strict=True)
        shown[column] = ["" if np.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in ends]
    return shown.assign(distance=table["distance"].round(2)).set_index(["concept", "condition"])


def kernel(ours: np.ndarray, other: np.ndarray) -> fid.Estimate:
    """KID of two sets of features, (n, d), whose rows i have one sentence and one seed; `fid.kernel` takes sets for independent.

    No picture is compared with its twin, which would pull the distance below 0: the mean over i != j of
    k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) (Gretton et al., 2012, lemma 6); the jackknife leaves out twins together.
    """
    n, d = ours.shape
    own, their, cross = ((np.float64(a) @ np.float64(b).T / d + 1) ** 3 for a, b in ((ours, ours), (other, other), (ours, other)))
    h = own + their - cross - cross.T
    np.fill_diagonal(h, 0)
    value = h.sum() / (n * (n - 1))
    return fid.Estimate(float(value), {"twins": (h.sum() - 2 * h.sum(1)) / ((n - 1) * (n - 2)) - value})


def distances(features: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """KID of each condition to the plain model's pictures of the same sentences, or of those that say the word; with 95 % intervals;
    of all models together, as "both", if there is more than one.

    "said", the control, is one half of its pictures against the other.

    Args:
        features: (condition, model) -> (n, d), the same contexts in the same order.
    """
    features, table = _together(features, lambda parts: np.concatenate(list(parts.values()))), []
    for (condition, name), ours in features.items():
        beside = BESIDE.get(condition)
        if beside:
            found, of = kernel(ours, features[beside, name]), beside
        elif condition == "said":
            found, of = fid.kernel(ours[::2], ours[1::2]), "its other half"
        else:
            continue
        value, low, high = found
        table.append({"condition": condition, "model": name, "to": of, "n": len(ours), "KID": value, "low": low, "high": high})
    return pd.DataFrame(table)


def difference(k: int, n: int, l: int, m: int) -> tuple[float, float, float]:  # noqa: E741
    """k / n - l / m and its 95 % interval by Newcombe's hybrid score (1998, method 10), which is sound where both are 0."""
    (low, high), (least, most), p, q = stats.wilson(k, n), stats.wilson(l, m), k / n, l / m
    return p - q, p - q - np.hypot(p - low, most - q), p - q + np.hypot(high - p, q - least)


def claims(frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
    """Every claim on one concept, a row per claim and model: value, 95 % interval, smallest effect of interest, n, verdict.

    The share that shows the concept is taken less `RENDERS`' base rate. Other values are differences of pictures that share
    context and seed. `n to decide`: as many pictures would decide what is undecided, if the effect stays.
    """
    leaks = {
        "left out, it does not show": "left out",
        "left out, neighbouring words do not bring it back": "neighbours",
        **{f"said, {remedy} keeps it away": remedy for remedy in REMEDIES},
        "erased: said again, it does not show": "said",
    }
    pairs = {"what is kept is as right as with the word": ("left out", "said", "others", -LOSS)}
    for remedy in REMEDIES:
        for what, column in (("their word", "right"), ("other axes", "others")):
            claim = f"leaving out harms neighbours less than {remedy}: {what}"
            pairs[claim] = "neighbours", f"{remedy}, neighbours", column, LOSS
    table = []

    def add(claim: str, name: str, n: int, value: float, low: float, high: float, smallest: float, direction: int) -> None:
        word = stats.verdict(low - smallest, high - smallest, direction)
        facing = high - value if value < smallest else value - low  # the interval's side towards the smallest effect
        needed = np.ceil(n * stats.more(facing, value - smallest)) if word == "undecided" and value != smallest else np.nan
        table.append({"claim": claim, "model": name, "value": value, "low": low, "high": high, "smallest": smallest, "n": n,
                      "verdict": word, "n to decide": needed})  # fmt: skip

    for name in dict.fromkeys(name for _, name in frames):
        base = frames[RENDERS[1], name]["shows"]
        for claim, condition in leaks.items():
            shown = frames[condition, name]["shows"]
            add(claim, name, len(shown), *difference(int(shown.sum()), len(shown), int(base.sum()), len(base)), LEAK, -1)
        for claim, (one, two, column, smallest) in pairs.items():
            other = frames[two, name][column].dropna()
            found = stats.effect(frames[one, name][column].loc[other.index], other, rng)
            add(claim, name, found["n"], found["difference"], found["low"], found["high"], smallest, 1)
    return pd.DataFrame(table)
