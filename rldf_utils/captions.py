"""Figure 7 with numbers: what of an input's semantics its caption keeps, beside its encoding, in words and in pictures."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import detect, perceive, plots, stats
from rldf_utils.grammar import NUMERALS, Grammar, GrammarError
from rldf_utils.rules import forms
from rldf_utils.tiny import world  # renders stand in for photographs whose semantics are known
from rldf_utils.tiny.judge import Judge  # below paper scale the judge stands in for a detector
from rldf_utils.tiny.sampling import BASE, FULL, HELD_OUT, LARGE, PLAIN  # the small world's words stand in for a larger one's

Semantics = Mapping[str, str]  #: axis -> word
Eyes = Callable[[Sequence[np.ndarray]], list[Semantics]]
COLOURS = {"true sentence": "black", "encoding": "#009e73", "encoding, all axes": "#56b4e9", "caption": "#cc79a7", "PEZ": "#e69f00"}
NOT_HERE = "not testable here (needs a judge of photographs)"


def eyes(scale: str, grammar: Grammar) -> Eyes | None:
    """Who says what pictures show: the judge; at paper scale the detector, of what boxes tell in a grammar's words; None without one."""
    if scale != "paper":
        return Judge()
    found = detect.detector(scale)
    return partial(detect.read, found, grammar=grammar) if found else None


def inputs(scale: str, rng: np.random.Generator, n: int, look: Eyes | None) -> tuple[dict[str, list], dict[str, list[Semantics]]]:
    """World -> its inputs, uint8 (height, width, 3) each, and what they show: renders of `truths`.

    At paper scale they are the photographs, called "base" after the axes; of them is known what the eyes see, if there are any.
    """
    if scale == "paper":
        found = [perceive.read_image(path) for path in perceive.inputs(scale).values()]
        told = look(found) if look else [{}] * len(found)
        return {"base": found}, {"base": [{axis: word for axis, word in row.items() if word} for row in told]}
    wanted = truths(rng, n)
    first = {name: HELD_OUT + 1000 * (k + 1) for k, name in enumerate(wanted)}
    return {name: [world.render(w, first[name] + k) for k, w in enumerate(words)] for name, words in wanted.items()}, wanted


def truths(rng: np.random.Generator, n: int) -> dict[str, list[dict[str, str]]]:
    """What inputs show in three worlds, every word of an axis equally often.

    "base" and "large" are the grammars of these names, n inputs each. "all axes", n / 2 inputs: the base grammar's words,
    and a word on every other axis that the world draws; in half of them nobody does anything, or faces would be rare.
    """
    found = {g.name: [g.decode(e) for e in g.spread(n, rng)] for g in (BASE, LARGE)}
    rich = zip(FULL.spread(n // 2, rng), BASE.spread(n // 2, rng), strict=True)
    found["all axes"] = [FULL.decode(finer) | BASE.decode(coarse) for finer, coarse in rich]
    for words in found["all axes"][::2]:
        words["Verb"] = ""
    return found


def sentence(words: Semantics) -> str:
    """Of the full grammar; axes that are not named are plain."""
    return FULL.surface(FULL.encode(PLAIN | words))


def said(text: str, grammar: Grammar = FULL) -> dict[str, str]:
    """The words that a text says, by axis: of a sentence of the grammar all axes; of prose the longest word it holds.

    Prose says nothing of numbers here: what a "two" in it counts is not known.
    """
    try:
        return grammar.decode(grammar.parse(text))
    except GrammarError:
        found = {}
        for axis, singular in grammar.axes.items():
            held = [(len(form), word) for word, written in zip(singular, grammar.words[axis], strict=True) for form in forms(written)
                    if word and word not in NUMERALS and re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE)]  # fmt: skip
            if held:
                found[axis] = max(held)[1]
        return found


def in_words(texts: Sequence[str], wanted: Sequence[Semantics], grammar: Grammar = FULL) -> pd.DataFrame:
    """Before any drawing: per axis, in how many of the n inputs that show it a text says it right, wrong, or omits it.

    Omitted: nothing is said of the axis, or the plain word where the input shows another.
    """
    rows = {axis: {"n": 0, "right": 0, "wrong": 0, "omitted": 0} for axis in grammar.axes}
    for words, truth in zip((said(text, grammar) for text in texts), wanted, strict=True):
        for axis in world.visible(truth) & set(truth):
            plain = None if axis in BASE.axes else PLAIN[axis]
            told = words.get(axis, plain)
            rows[axis]["n"] += 1
            rows[axis]["right" if told == truth[axis] else "omitted" if told == plain else "wrong"] += 1
    columns = ["axis", "n", "right", "wrong", "omitted"]
    return pd.DataFrame([{"axis": axis, **row} for axis, row in rows.items() if row["n"]], columns=columns)


def shows(seen: Semantics, truth: Semantics) -> dict[str, bool]:
    """Per axis that an input shows, whether a picture shows the same; where nobody is seen, nobody's age or deed is."""
    there = world.visible(seen)
    return {axis: axis in there and seen[axis] == truth[axis] for axis in FULL.axes if axis in world.visible(truth) & set(truth)}


def kept(seen: Sequence[Sequence[Semantics]], wanted: Sequence[Semantics]) -> np.ndarray:
    """Per input and axis of the full grammar the share of its pictures that show what it shows; NaN where it shows nothing.

    Args:
        seen: the judge's words, (inputs, pictures).
    """
    columns = {axis: k for k, axis in enumerate(FULL.axes)}
    shares = np.full((len(wanted), len(columns)), np.nan)
    for i, (pictures, truth) in enumerate(zip(seen, wanted, strict=True)):
        for axis, share in pd.DataFrame([shows(words, truth) for words in pictures]).mean().items():
            shares[i, columns[axis]] = share
    return shares


def by_axis(shares: np.ndarray) -> dict[str, np.ndarray]:
    """Of `kept`: axis -> shares of the inputs that show it; "all" is each input's mean over its axes."""
    columns = {axis: column[~np.isnan(column)] for axis, column in zip(FULL.axes, shares.T, strict=True)}
    return {axis: column for axis, column in columns.items() if len(column)} | {"all": np.nanmean(shares, axis=1)}


def shares_table(shares: np.ndarray, rng: np.random.Generator, **columns) -> pd.DataFrame:
    """Of `kept`: one row per axis and one for all, the mean share with its 95 % interval over n inputs (bootstrap)."""
    rows = []
    for axis, column in by_axis(shares).items():
        low, high = stats.interval(column, rng, statistic=lambda drawn: drawn.mean(-1))
        low, high = stats.doubted(low, high, len(column))
        rows.append({**columns, "axis": axis, "share": column.mean(), "low": max(low, 0.0), "high": min(high, 1.0), "n": len(column)})
    return pd.DataFrame(rows)


def differences(ours: np.ndarray, other: np.ndarray, rng: np.random.Generator, smallest: float, **columns) -> pd.DataFrame:
    """Of `kept`, twice, for the same inputs: ours minus other by axis and for all, 95 % paired interval, and verdict.

    The claim is that ours keeps more, by `smallest` at least. `n to decide`: as many inputs would decide what is undecided.
    """
    one, two, rows = by_axis(ours), by_axis(other), []
    for axis, column in one.items():
        found = stats.effect(column, two[axis], rng)
        found["low"], found["high"] = stats.doubted(found["low"], found["high"], len(column))
        word = stats.verdict(found["low"], found["high"], 1, smallest)
        needed = stats.enough(word, found["n"], found["low"], found["high"], found["difference"] - smallest)
        rows.append({**columns, "axis": axis, **found, "smallest": smallest, "verdict": word, "n to decide": needed})
    return pd.DataFrame(rows)


CONTROL = "another input's caption"
PAIRS = (("encoding", "caption"), ("encoding, all axes", "caption"), ("encoding", "PEZ"), ("caption", CONTROL))
Kept = Mapping[tuple[str, str], np.ndarray]  #: (world, prompt) -> shares of `kept`


def claims(shares: Kept, seen: Mapping[tuple[str, str], Sequence], wanted: Mapping[str, Sequence[Semantics]], smallest: float,
           rng: np.random.Generator) -> pd.DataFrame:  # fmt: skip
    """`differences` of every world and pair of `PAIRS` that there is; the control, known to be true, is the last.

    Args:
        seen: (world, prompt) -> the judge's words, (inputs, pictures); wanted: world -> the inputs' semantics.
    """
    rows, measured = [], dict(shares)
    for name in dict.fromkeys(key[0] for key in shares):
        told = seen[name, "caption"]
        measured[name, CONTROL] = kept([*told[1:], told[0]], wanted[name])
        for ours, beside in (pair for pair in PAIRS if {(name, prompt) for prompt in pair} <= set(measured)):
            one, two = measured[name, ours], measured[name, beside]
            text = f"{ours} keeps more than {beside}"
            rows.append(differences(one[: len(two)], two, rng, smallest, world=name, claim=text))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def losses(own: Mapping[str, np.ndarray], shares: Kept) -> pd.DataFrame:
    """Where the loss arises, over all axes: missed by the judge, lost by the diffusion model, and by the prompt's words.

    Args:
        own: world -> `kept` of the inputs themselves.
    """
    rows = []
    for (name, prompt), value in shares.items():
        stages = [np.nanmean(v[: len(value)], 1).mean() for v in (own[name], shares[name, "true sentence"], value)]
        by_judge, by_model, by_words = 0.0 - np.diff([1.0, *stages])
        rows.append({"world": name, "prompt": prompt, "judge": by_judge, "diffusion model": by_model,
                     "words": by_words, "whole loss": 1 - stages[-1], "n": len(value)})  # fmt: skip
    return pd.DataFrame(rows)


def chart(table: pd.DataFrame) -> plt.Figure:
    """Share kept by axis, a panel for each world (the last at the right), a colour for each prompt; bars are 95 % intervals.

    Args:
        table: rows of `shares_table` with the columns world and prompt.
    """
    *others, last = parts = {name: part for name, part in table.groupby("world", sort=False)}
    figure = plt.figure(figsize=(10, 6.2))
    panels = figure.subplot_mosaic([[name, last] for name in others] or [[last]], sharex=True)
    for name, part in parts.items():
        ax, words, prompts = panels[name], list(dict.fromkeys(part["axis"])), [p for p in COLOURS if p in set(part["prompt"])]
        for k, prompt in enumerate(prompts):
            rows = part[part["prompt"] == prompt]
            y = [words.index(axis) + 0.8 * (k + 0.5) / len(prompts) - 0.4 for axis in rows["axis"]]
            spread = rows["share"] - rows["low"], rows["high"] - rows["share"]
            ax.errorbar(rows["share"], y, xerr=spread, fmt="o", ms=3.5, lw=1.2, color=COLOURS[prompt])
        ax.set_yticks(range(len(words)), words)
        ax.set_ylim(len(words) - 0.5, -0.5)
        for line in range(1, len(words)):
            ax.axhline(line - 0.5, color="#dddddd", lw=0.8)
        few = part["n"][part["prompt"] == "PEZ"].max()
        ax.set_title(f"{name}: {part['n'].max()} inputs, PEZ {few}", loc="left")
        ax.set(xlim=(-0.02, 1.02), xlabel="share of pictures that show what the input shows" if name in (*others[-1:], last) else "")
    used = [p for p in COLOURS if p in set(table["prompt"])]
    handles = [plt.Line2D([], [], marker="o", ls="", color=COLOURS[p], label=p) for p in used]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(used), frameon=False)
    return figure


def gallery(rows: Sequence[tuple[np.ndarray, Semantics | None, Mapping[str, tuple]]]) -> plt.Figure:
    """Figure 7: a row for each input, its picture and beside it blocks of pictures, the prompt over each.

    A picture that shows something else than the input has a red frame, and below it the axes and what is seen instead.

    Args:
        rows: (input, its semantics or None, {block: (prompt, pictures, what the judge sees in each or None)}).
    """
    each, blocks = len(next(iter(rows[0][2].values()))[1]), len(rows[0][2])
    widths = ([1] + [0.25] + ([1] * each + [0.25]) * blocks)[:-1]
    figure, axes = plt.subplots(len(rows), len(widths), figsize=(1.1 * sum(widths), 2.1 * len(rows)), width_ratios=widths, squeeze=False,
                                layout="none", gridspec_kw={"wspace": 0.06, "hspace": 0.85, "left": 0.01, "right": 0.99})  # fmt: skip
    for ax in axes.flat:
        ax.axis("off")
    for line, (image, truth, parts) in zip(axes, rows, strict=True):
        plots.picture(line[0], image)
        line[0].set_title("input", fontsize=8, loc="left")
        for b, (name, (prompt, pictures, seen)) in enumerate(parts.items()):
            first = 2 + b * (each + 1)
            line[first].set_title("\n".join(textwrap.wrap(f"{name}: {prompt}", 17 * each)), fontsize=8, loc="left")
            for k, picture in enumerate(pictures):
                ax, wrong = line[first + k], []
                plots.picture(ax, picture)
                if seen is not None:
                    wrong = [f"{axis} {seen[k][axis] or 'none'}" for axis, right in shows(seen[k], truth).items() if not right]
                if wrong:
                    ax.add_patch(plt.Rectangle((-0.5, -0.5), picture.shape[1], picture.shape[0], fill=False, ec="#d00000", lw=3))
                    told = [re.sub(r" (an?|in the|at)\b", "", text) for text in wrong]
                    told = [text if len(text) <= 16 else textwrap.wrap(text, 14)[0] + " …" for text in told]
                    told = told if len(told) <= 2 else [told[0], f"and {len(told) - 1} more"]
                    ax.text(0.5, -0.05, "\n".join(told), fontsize=8, color="#d00000", ha="center", va="top", transform=ax.transAxes)
    return figure
