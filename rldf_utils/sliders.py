"""Walks along one axis of the encoding, all else and the seed fixed (section 4, Figure 13), and how well pictures follow them."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import rankdata

from rldf_utils import grammar as grammars
from rldf_utils import plots, stats
from rldf_utils.generate import Cache
from rldf_utils.grammar import Grammar
from rldf_utils.tiny import world  # its rules on what a picture can show stand in for common sense

AXES = ("Weather", "Time", "Scene", "Frequency", "Density", "Age", "Tone", "Style")
NEEDS = {"Age": ("one", "two"), "Tone": ("one", "two")}  #: axis -> numbers of people with which its words are easily seen
LEAST, MOST = 0.9, 0.05  #: smallest effects, named before the run: Spearman of a followed axis; change of other axes per step
HELD_OUT = 2**42  #: where the seeds of renders begin
Walk = list[dict[str, str]]  #: the semantics of each step
Eyes = Callable[[np.ndarray], list[dict[str, str]]]  #: what pictures show, such as `judge.Judge`


@dataclass(frozen=True)
class Slide:
    """Walks along one axis, their pictures, and what they show."""

    words: tuple[str, ...]  #: of the axis, in order
    walks: list[Walk]
    pictures: np.ndarray  #: uint8 (walks, steps, height, width, 3)
    seen: list[Walk]  #: what the eyes see in each picture; none without eyes
    place: np.ndarray  #: see `follow`, as `changed`
    changed: np.ndarray
    floor: np.ndarray  #: `changed` of renders of the same sentences, where the rest really stays: the eyes' own errors


def words(grammar: Grammar) -> dict[str, tuple[str, ...]]:
    """Axis -> the words of its walk, in the order of the encoding; the places are those of the base grammar, a subset of any."""
    places = grammars.load("base").axes["Scene"]
    return {axis: tuple(places if axis == "Scene" else grammar.axes[axis]) for axis in AXES if axis in grammar.axes}


def walks(grammar: Grammar, axis: str, pictures: int, rng: np.random.Generator) -> list[Walk]:
    """Walks along an axis, as many as make at least so many pictures: each a random plain sentence with every word of the axis in turn.

    Equal generators give all axes the same sentences to walk from, as far as their words allow (`NEEDS`), so that walks meet in them.
    """
    steps = words(grammar)[axis]
    plain = {a: world.DEFAULTS[a] if world.DEFAULTS.get(a) in w else w[0] for a, w in grammar.axes.items()}
    found = []
    for _ in range(-(-pictures // len(steps))):
        fixed = {a: w[rng.integers(len(w))] for a, w in grammar.axes.items() if a in ("Frequency", "Noun", "Density", "Scene")}
        if axis in NEEDS and fixed["Density"] not in NEEDS[axis]:
            fixed["Density"] = NEEDS[axis][grammar.axes["Density"].index(fixed["Density"]) % len(NEEDS[axis])]
        found.append([{**plain, **fixed, axis: word} for word in steps])
    return found


def slide(grammar: Grammar, axis: str, model: Cache, eyes: Eyes | None, pictures: int, seed: int) -> Slide:
    """Draw at least so many pictures of `walks` along an axis and look at them; each walk has one seed, from `seed` on.

    Args:
        model: a cache, which draws once what walks along several axes share.
        eyes: None where there are none: then only the pictures are made.
    """
    steps, told = words(grammar)[axis], walks(grammar, axis, pictures, np.random.default_rng(seed))
    flat = [grammar.surface(grammar.encode(step)) for walk in told for step in walk]
    drawn = model(flat, [seed + k // len(steps) for k in range(len(flat))], progress=axis)
    drawn = drawn.reshape(len(told), len(steps), *drawn.shape[1:])
    if eyes is None:
        return Slide(steps, told, drawn, [], *[np.empty((0, 0))] * 3)
    rendered = np.stack([world.render(step, HELD_OUT + seed + k) for k, walk in enumerate(told) for step in walk])
    seen, known = ([line[k : k + len(steps)] for k in range(0, len(line), len(steps))]
                   for line in (eyes(np.concatenate(drawn)), eyes(rendered)))  # fmt: skip
    return Slide(steps, told, drawn, seen, *follow(axis, told, seen, steps), follow(axis, told, known, steps)[1])


def follow(axis: str, told: Sequence[Walk], seen: Sequence[Walk], steps: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What eyes say of pictures of walks.

    Args:
        told, seen: what each step's sentence says, and what its picture shows.

    Returns:
        place (walks, steps): number of the word that is seen on the axis, NaN if it is none of the walk's;
        changed (walks, steps - 1): of the other axes that show in both of two neighbours, the share that is seen to change.
    """
    number = {word: k for k, word in enumerate(steps)}
    place = np.array([[number.get(eye[axis], np.nan) for eye in line] for line in seen], float)
    changed = []
    for walk, line in zip(told, seen, strict=True):
        shown = [(world.visible(a) & world.visible(b) & set(a)) - {axis} for a, b in pairwise(walk)]
        changed.append([np.mean([a[other] != b[other] for other in shows]) for shows, (a, b) in zip(shown, pairwise(line), strict=True)])
    return place, np.array(changed)


def spearman(place: np.ndarray) -> np.ndarray:
    """Rank correlation of the word that was set and the word that is seen, over all pictures of (..., walks, steps); NaN is last."""
    *many, walks, steps = place.shape
    seen = rankdata(np.where(np.isnan(place), steps, place).reshape(*many, walks * steps), axis=-1)
    told = rankdata(np.tile(np.arange(steps), walks))
    seen, told = seen - seen.mean(-1, keepdims=True), told - told.mean()
    return (seen @ told) / np.sqrt((seen**2).sum(-1) * (told**2).sum() + 1e-12)


def monotone(place: np.ndarray) -> np.ndarray:
    """Which walks, (..., walks, steps), never go back and end further on than they began."""
    return (np.diff(place, axis=-1) >= 0).all(-1) & (place[..., -1] > place[..., 0])


def table(slides: Mapping[str, Slide], rng: np.random.Generator, draws: int = 1000) -> pd.DataFrame:
    """One row per axis: Spearman, share of right words, of monotone walks, and change of the other axes beyond that of renders.

    Intervals are 95 %: bootstrap over walks; Wilson's for monotone walks. `by_chance`: the share of monotone walks among the
    same places in random order.
    """
    rows = []
    for axis, found in slides.items():
        place, changed = found.place, found.changed.mean(1) - found.floor.mean(1)
        n, steps = place.shape
        drawn = rng.integers(n, size=(draws, n))
        rho, among = spearman(place[drawn]), changed[drawn].mean(1)
        straight, shuffled = monotone(place), monotone(rng.permuted(np.repeat(place[None], 50, 0), axis=-1))
        low, high = stats.wilson(int(straight.sum()), n)
        ends = {"spearman": np.percentile(rho, [2.5, 97.5]), "change": np.percentile(among, [2.5, 97.5])}
        rows.append({
            "axis": axis, "words": steps, "walks": n, "pictures": n * steps, "spearman": float(spearman(place)),
            "spearman_low": ends["spearman"][0], "spearman_high": ends["spearman"][1],
            "right": float((place == np.arange(steps)).mean()), "monotone": straight.mean(), "monotone_low": low, "monotone_high": high,
            "by_chance": shuffled.mean(), "change": changed.mean(), "change_low": ends["change"][0], "change_high": ends["change"][1],
        })  # fmt: skip
    return pd.DataFrame(rows)


def claims(measured: pd.DataFrame) -> pd.DataFrame:
    """Two claims per axis: it is followed; the rest stays.

    With effect, 95 % interval, smallest effect (`LEAST`, `MOST`), verdict, and the n pictures that would decide what is undecided.
    """
    rows = []
    for row in measured.to_dict("records"):
        followed = {"claim": f"pictures follow the axis {row['axis']}", "smallest": LEAST, **_ends(row, "spearman")}
        steady = {"claim": f"sliding {row['axis']} leaves the other axes", "smallest": MOST, **_ends(row, "change")}
        followed["verdict"] = stats.verdict(followed["low"], followed["high"], 1, LEAST)
        steady["verdict"] = stats.verdict(steady["low"] - MOST, steady["high"] - MOST, -1)
        n = row["pictures"]
        rows += [{**one, "n": n, "n to decide": stats.enough(one["verdict"], n, one["low"], one["high"], one["effect"] - one["smallest"])}
                 for one in (followed, steady)]  # fmt: skip
    return pd.DataFrame(rows)


def _ends(row: Mapping, key: str) -> dict[str, float]:
    return {"effect": row[key], "low": row[f"{key}_low"], "high": row[f"{key}_high"]}


def strips(slides: Mapping[str, Slide]) -> plt.Figure:
    """Figure 13: the first walk of each axis, its word over each picture; a red frame where another is seen, which stands below."""
    most = max(len(found.words) for found in slides.values())
    figure, axes = plt.subplots(len(slides), most, figsize=(1.05 * most + 0.9, 1.3 * len(slides)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for line, (axis, found) in zip(axes, slides.items(), strict=True):
        line[0].text(-0.12, 0.5, axis, transform=line[0].transAxes, ha="right", va="center", fontsize=9, weight="bold")
        for k, (ax, picture, word) in enumerate(zip(line, found.pictures[0], found.words, strict=False)):
            plots.picture(ax, picture)
            ax.set_title(word or "plain", fontsize=8, pad=2)
            if found.seen and (eye := found.seen[0][k][axis]) != word:
                ax.add_patch(plt.Rectangle((-0.5, -0.5), picture.shape[1], picture.shape[0], fill=False, ec="#d00000", lw=3))
                ax.text(0.5, -0.04, f"seen: {eye or 'plain'}", fontsize=8, color="#d00000", ha="center", va="top", transform=ax.transAxes)
    return figure


def chart(measured: pd.DataFrame) -> plt.Figure:
    """Per axis: Spearman, share of monotone walks (grey: by chance), and change of the rest per step, with 95 % intervals."""
    columns = (("spearman", "Spearman of set and seen"), ("monotone", "share of monotone walks"), ("change", "change of the rest per step"))
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 0.34 * len(measured) + 1.1), sharey=True)
    y = np.arange(len(measured))[::-1]
    for ax, (key, label) in zip(axes, columns, strict=True):
        low, high = (measured[key] - measured[f"{key}_low"]).clip(0), (measured[f"{key}_high"] - measured[key]).clip(0)
        ax.errorbar(measured[key], y, xerr=[low, high], fmt="o", ms=4, color="#0072b2")
        ax.set_xlabel(label)
    axes[1].plot(measured["by_chance"], y, "|", color="#7f7f7f", ms=9, label="by chance")
    axes[1].legend(fontsize=8, loc="lower left", numpoints=1, handlelength=1)
    for ax, bound in ((axes[0], LEAST), (axes[2], MOST)):
        ax.axvline(bound, color="black", lw=0.8, ls="--")
    axes[0].set_xlim(-0.05, 1.05)
    axes[1].set_xlim(-0.05, 1.05)
    axes[0].set_yticks(y, measured["axis"])
    return figure


def widget(model: Cache, grammar: Grammar, start: Mapping[str, str], seed: int = 0) -> ipywidgets.VBox:
    """A slider per axis and the picture of the encoding that they set; one that was drawn before comes from the cache at once.

    In a page without a running kernel it shows nothing that moves: put `strips` beside it.

    Args:
        start: the semantics that it begins with.
        seed: of all pictures.
    """
    sliders = {axis: ipywidgets.SelectionSlider(options=[(w.partition("/")[0] or "plain", w) for w in options], value=start[axis],
                                                description=axis, continuous_update=False)
               for axis, options in grammar.axes.items()}  # fmt: skip
    sentence, picture = ipywidgets.Label(), ipywidgets.Image(format="png", width=256, height=256)

    def draw(_: object = None) -> None:
        sentence.value = grammar.surface(grammar.encode({axis: slider.value for axis, slider in sliders.items()}))
        buffer = io.BytesIO()
        pixels = model([sentence.value], [seed])[0]
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.NEAREST).save(buffer, "PNG")
        picture.value = buffer.getvalue()

    for slider in sliders.values():
        slider.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([ipywidgets.VBox(list(sliders.values())), picture]), sentence])
