"""Charts of the noisy diffusion gradient: its walks, what it is told and what it is not, what it finds, and how it fails."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import plots
from rldf_utils.grammar import Grammar

STYLES = {"forward": ":", "central": "--", "spsa": "-"}  #: the estimators of `gradient.ESTIMATORS`


def arrivals(rows: pd.DataFrame, shape: Sequence[int]) -> plt.Figure:
    """Share of runs of the noisy diffusion gradient that have seen the target, against the calls; one panel per reward.

    Args:
        rows: reward, estimator, calls (infinite if the target was not seen).
        shape: words per axis. Drawing without replacement sees the target within k calls with probability k / states; one axis at
            a time needs 1 + the sum of the other words, if rewards 1 and 3 are perfect.
    """
    size, pass_ = np.prod(shape), 1 + sum(n - 1 for n in shape)
    kinds, calls = sorted(rows["reward"].unique()), np.unique(np.geomspace(1, size, 200).astype(int))
    figure, axes = plt.subplots(1, len(kinds), figsize=(3.9 * len(kinds), 3.4), sharey=True)
    for kind, ax in zip(kinds, np.atleast_1d(axes), strict=True):
        ax.plot(calls, calls / size, color=plots.COLOURS["Random"], lw=1.5, label="random, without replacement")
        for estimator, part in rows[rows["reward"] == kind].groupby("estimator"):
            share = (part["calls"].to_numpy()[:, None] <= calls).mean(0)
            ax.plot(calls, share, STYLES[estimator], color=plots.COLOURS["nDg"], lw=2, label=f"nDg, {estimator}")
        if kind != 2:
            ax.plot(pass_, 1, "k*", ms=11, clip_on=False, zorder=5, label=f"one axis at a time, perfect: {pass_} calls")
        ax.set(xscale="log", ylim=(0, 1.02), xlim=(1, size), title=f"reward {kind}", xlabel="calls")
        ax.xaxis.set_major_formatter("{x:.0f}")
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("share of runs that saw the target")
    free = np.atleast_1d(axes)[kinds.index(2) if 2 in kinds else 0]  # the panel without a star
    free.legend(*first.get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper left")
    return figure


def after_the_target(rows: pd.DataFrame, chance: float, window: int = 5) -> plt.Figure:
    """How far from the target the iterates are that began on it: mean over `window` iterations, with its 95 % interval.

    Args:
        rows: landscape, estimator, distances (iterations,): one row per run.
        chance: mean distance of a random state.
    """
    titles = list(dict.fromkeys(rows["landscape"]))
    figure, axes = plt.subplots(1, len(titles), figsize=(3.9 * len(titles), 3.4), sharey=True)
    for title, ax in zip(titles, np.atleast_1d(axes), strict=True):
        ax.axhline(chance, color=plots.COLOURS["Random"], lw=1.5, label="a random state")
        for estimator, part in rows[rows["landscape"] == title].groupby("estimator"):
            walks = np.stack(part["distances"])[:, 1:]
            blocks = walks[:, : walks.shape[1] // window * window].reshape(len(walks), -1, window).mean(2)
            steps, mean = (np.arange(blocks.shape[1]) + 0.5) * window, blocks.mean(0)
            error, color = 1.96 * blocks.std(0) / len(blocks) ** 0.5, plots.COLOURS["nDg"]
            ax.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, lw=0)
            ax.plot([0, *steps], [0, *mean], STYLES[estimator], color=color, lw=2, label=f"nDg, {estimator}")
        ax.set(ylim=(-0.1, chance * 1.45), title=title, xlabel="iterations after the target")
    np.atleast_1d(axes)[0].set_ylabel("distance to the target")
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return figure


def signal(ratios: Mapping[int, np.ndarray], needed: pd.DataFrame, chance: float) -> plt.Figure:
    """Left: signal-to-noise ratio of a difference by distance to the target. Right: calls against the pictures per state.

    Args:
        ratios: reward -> ratio at each distance from 1, (distances,).
        needed: reward, pictures, calls: one row per run; runs that never saw the target count with the most calls.
        chance: mean calls of random draws without replacement.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4))
    looks = {1: ("o-", "#0072b2"), 2: ("s-", "#e69f00"), 3: ("^-", "#009e73")}
    for kind, ratio in ratios.items():
        style, color = looks[kind]
        left.plot(np.arange(1, len(ratio) + 1), ratio, style, color=color, ms=4, label=f"reward {kind}")
    left.axhline(1, color="black", ls="--", lw=1, label="signal = noise")
    left.set(yscale="log", ylim=(0.5, None), xlabel="distance to the target", ylabel="signal / noise of one difference")
    left.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.16))
    for kind, part in needed.groupby("reward"):
        mean, error = part.groupby("pictures")["calls"].mean(), 1.96 * part.groupby("pictures")["calls"].sem()
        style, color = looks[kind]
        right.errorbar(mean.index, mean, error, fmt=style, color=color, ms=4, capsize=3, label=f"reward {kind}")
    right.axhline(chance, color=plots.COLOURS["Random"], lw=1.5, label="random, without replacement")
    right.set(xscale="log", xlabel="pictures per state", ylabel="mean calls until the target", ylim=(0, None))
    right.set_xticks(sorted(needed["pictures"].unique()), sorted(needed["pictures"].unique()))
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def failures(pairs: Sequence[tuple[np.ndarray, np.ndarray]], titles: Sequence[tuple[str, str]], columns: int = 4) -> plt.Figure:
    """Inputs and, in a red frame, the pictures at which a search failed; `columns` pairs a row, a title over each picture."""
    images, words = [image for pair in pairs for image in pair], [title for pair in titles for title in pair]
    figure = plots.image_grid(images, words, columns=2 * columns, size=1.3)
    for image, ax in zip(images[1::2], figure.axes[1::2], strict=False):
        ax.add_patch(plt.Rectangle((-0.5, -0.5), image.shape[1], image.shape[0], fill=False, ec="#d55e00", lw=5))
    return figure


def blind(landscapes: Mapping[str, np.ndarray], transitions: np.ndarray, grammar: Grammar, target: int) -> plt.Figure:
    """Heat maps: along how many axes neither neighbour of a state pays differently; one panel per landscape, (states,)."""
    figure, axes = plt.subplots(1, len(landscapes), figsize=(4 * len(landscapes), 4.8), squeeze=False)
    most = len(grammar.axes)
    shades = plt.get_cmap("magma_r", most + 1)
    for (title, values), ax in zip(landscapes.items(), axes[0], strict=True):
        sides = "xy" if ax is axes[0, 0] else "x"
        without = (values[transitions].reshape(len(values), most, 2) == values[:, None, None]).all(2).sum(1)
        label = "axes without a signal"
        plots.landscape(ax, without, grammar, target, label, sides, cmap=shades, vmin=-0.5, vmax=most + 0.5)
        ax.set_title(f"{title}: {(without == most).mean():.0%} of the states see nothing")
    return figure


def pictures(rows: pd.DataFrame, inputs: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> plt.Figure:
    """Figure 11: a row for each run: its input, where it started, and fresh pictures of the sentence found.

    Args:
        rows: input, true, start, found (sentences), arrived (framed green): one row per run.
        drawn: sentence -> its pictures, (pictures, height, width, 3).
    """
    images, titles, framed = [], [], []
    for row in rows.itertuples():
        found = drawn[row.found]
        framed += [len(images) + 2 + k for k in range(len(found)) if row.arrived]
        images += [inputs[row.input], drawn[row.start][0], *found]
        sentences = {"input": row.true, "start": row.start, "found": row.found}
        titles += [f"{name}\n{plots.short(text)}" for name, text in sentences.items()]
        titles += ["fresh seed\n\n\n"] * (len(found) - 1)
    return plots.image_grid(images, titles, 2 + len(found), 1.25, highlight=framed)
