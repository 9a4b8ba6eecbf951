"""Charts of the environment, of agents and of searches: what they see, how they learn, and what becomes of the claims about them."""

import textwrap
from collections.abc import Mapping, Sequence
from math import prod

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm

from rldf_utils import plots
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Grammar
from rldf_utils.multiverse import Claim
from rldf_utils.readings import DEFAULT, LEVELS, Reading


def learning_curves(rows: Sequence[dict]) -> plt.Figure:
    """Mean reward per step over blocks of steps, one panel per reward.

    Args:
        rows: agent, reward, `rewards` (seeds, blocks), and `best`: what `sweep.optimal_return` says.
    """
    kinds = sorted({row["reward"] for row in rows})
    figure, axes = plt.subplots(1, len(kinds), figsize=(3.8 * len(kinds), 3.4))
    for kind, ax in zip(kinds, np.atleast_1d(axes), strict=True):
        for row in (r for r in rows if r["reward"] == kind):
            plots.band(ax, row["rewards"], plots.COLOURS[row["agent"]], row["agent"])
        value, arrives = row["best"]
        ax.axhline(value, color="black", ls="--", lw=1, label="Q*")
        ax.set(title=f"reward {kind}: Q* arrives in {arrives:.0%} of episodes", xlabel="block of 200 steps", ylabel="mean reward per step")
    ax.legend(frameon=False)
    return figure


def q_slices(tables: dict[str, np.ndarray], env: RLDFEnv) -> plt.Figure:
    """max Q on the slices of the first two and the last two axes through the target, one column per table (states, actions).

    All share one colour scale; grey is the target. An arrow is the best action where it moves within the slice. Two axes
    are one slice, a single axis is one row.
    """
    pad = max(2 - len(env.grammar.shape), 0)  # an axis of one word makes a row of a line
    shape, words = (1,) * pad + env.grammar.shape, [("",)] * pad + list(env.grammar.axes.values())
    names, target = [""] * pad + list(env.grammar.axes), (0,) * pad + env.grammar.encoding(env.target)
    slices = sorted({(0, 1), (len(shape) - 2, len(shape) - 1)})
    low, high = (end(q.max(1) for q in tables.values()) for end in (lambda q: min(map(np.min, q)), lambda q: max(map(np.max, q))))
    figure, axes = plt.subplots(len(slices), len(tables), figsize=(4.6 * len(tables), 3 * len(slices)), squeeze=False)
    for (title, q), column in zip(tables.items(), axes.T, strict=True):
        for (down, across), ax in zip(slices, column, strict=True):
            cells = np.array([target] * (shape[down] * shape[across]))
            cells[:, [down, across]] = np.indices((shape[down], shape[across])).reshape(2, -1).T
            rows = q[np.ravel_multi_index(cells.T, shape)]
            values = rows.max(1).reshape(shape[down], shape[across])
            values[target[down], target[across]] = np.nan  # nothing is learnt of leaving the target
            shown = ax.imshow(values, cmap="viridis", aspect="auto", vmin=low, vmax=high)
            ax.set_facecolor("#bbbbbb")
            ax.figure.colorbar(shown, ax=ax, label="max Q", shrink=0.9)
            for (y, x), action in zip(cells[:, [down, across]], rows.argmax(1), strict=True):
                moved = action // 2 + pad
                if moved in (down, across) and (y, x) != (target[down], target[across]):
                    step = 0.3 * (1 - 2 * (action % 2))
                    dx, dy = (step, 0) if moved == across else (0, step)
                    ax.annotate("", (x + dx, y + dy), (x - dx, y - dy), arrowprops={"arrowstyle": "->", "color": "white"})
            ax.plot(target[across], target[down], "*", ms=13, mfc="white", mec="black")
            ax.set_xticks(range(shape[across]), words[across], rotation=30, ha="right", fontsize=8)
            ax.set_yticks(range(shape[down]), words[down], fontsize=8)
            ax.set(title=title, xlabel=names[across], ylabel=names[down])
    return figure


def convergence(errors: pd.DataFrame, steps: int) -> plt.Figure:
    """The error of `sweep.convergence` against the steps; a dashed line at the paper's number of steps."""
    figure, ax = plt.subplots(figsize=(7, 3.4))
    for name, part in errors.groupby("step_size", sort=False):
        ax.loglog(part["steps"], part["error"], "o-", ms=3, label=f"step size {name}")
    ax.axvline(steps, color="#7f7f7f", ls="--", lw=1)
    ax.set(xlabel=f"steps (dashed: {steps})", ylabel="largest |Q - Q*|", title="uniform exploration, reward 1")
    ax.legend(frameon=False)
    return figure


def specification_curves(tables: Mapping[Claim, pd.DataFrame], readings: Sequence[Reading]) -> plt.Figure:
    """Each claim's effect in every reading, sorted, with its interval; below it, which fields depart from the default.

    Blue: the claim holds; red: the effect is opposite; grey: neither. Grey band: within the smallest effect.

    Args:
        tables: claim -> one row per reading, of `multiverse.effects`; the first reading is the default.
    """
    departs = np.array([[getattr(reading, name) != getattr(DEFAULT, name) for reading in readings] for name in LEVELS])
    rows = -(-len(tables) // 2)
    cells = plt.figure(figsize=(12, 4.2 * rows), layout="constrained").subfigures(rows, 2, squeeze=False, hspace=0.04, wspace=0.04)
    for number, (claim, table) in enumerate(tables.items()):
        above, below = cells[number // 2, number % 2].subplots(2, 1, sharex=True, height_ratios=(1, 1.25))
        order = np.argsort(table["difference"].to_numpy(), kind="stable")
        values, low, high = (table[column].to_numpy()[order] for column in ("difference", "low", "high"))
        beyond = np.where(low >= claim.smallest, 1, np.where(high <= -claim.smallest, -1, 0)) * claim.direction
        for sign, color in ((1, "#0072b2"), (-1, "#d55e00"), (0, "#999999")):
            at = np.flatnonzero(beyond == sign)
            above.vlines(at, low[at], high[at], color=color, lw=1)
            above.plot(at, values[at], ".", color=color, ms=3)
        above.axhspan(-claim.smallest, claim.smallest, color="#dddddd", zorder=0)
        above.axvline(int(np.flatnonzero(order == 0)[0]), color="black", lw=0.8, ls=":")
        above.set_title("\n".join(textwrap.wrap(claim.text, 62)), fontsize=9)
        above.set_ylabel("difference")
        below.imshow(departs[:, order], aspect="auto", cmap="Greys", interpolation="nearest", vmin=0, vmax=1.4)
        below.set_yticks(range(len(LEVELS)), LEVELS, fontsize=8)
        below.set_xlabel("readings, sorted")
    return cells[0, 0].get_figure(root=True)


def growth(grown: pd.DataFrame) -> plt.Figure:
    """Steps and calls until the first arrival against the states: medians and the middle half; what drawing without replacement needs."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharex=True)
    for (agent, reading), part in grown.groupby(["agent", "reading"]):
        label = agent if agent == "Random" else f"{agent}, {reading}"
        style = "o--" if reading == "printed" else "o-"
        for ax, column in zip(axes, ("steps", "calls"), strict=True):
            low, middle, high = (part.groupby("states")[column].quantile(q) for q in (0.25, 0.5, 0.75))
            bars = {"fmt": style, "ms": 4, "capsize": 3, "color": plots.COLOURS[agent], "label": label}
            ax.errorbar(middle.index, middle, (middle - low, high - middle), **bars)
            ax.set(xscale="log", yscale="log", xlabel="states", ylabel=f"{column} until the first arrival")
    sizes = np.array(sorted(grown["states"].unique()))
    for share, style, label in ((1, "--", "every state"), (0.5, ":", "half of them")):
        axes[1].plot(sizes, share * sizes, style, color="black", lw=1, label=label)
    axes[1].legend(frameon=False, fontsize=8)
    return figure


def by_epsilon(rows: pd.DataFrame) -> plt.Figure:
    """Means over the runs of each measure against epsilon, one line per reading, with 95 % intervals; epsilon is a category."""
    measures = [column for column in rows if column not in ("reading", "epsilon")]
    figure, axes = plt.subplots(1, len(measures), figsize=(4 * len(measures), 3.2))
    for measure, ax in zip(measures, axes, strict=True):
        for reading, part in rows.groupby("reading"):
            grouped = part.groupby("epsilon")[measure]
            place, style = range(grouped.ngroups), "o-" if reading == "chosen" else "s--"
            ax.errorbar(place, grouped.mean(), 1.96 * grouped.sem(), fmt=style, ms=4, capsize=2, color=plots.COLOURS["Q"], label=reading)
        ax.set_xticks(place, grouped.groups, fontsize=8)
        ax.set(xlabel="epsilon (1.0 is Random)", title=measure)
        if rows[measure].min() >= 0:
            ax.set_ylim(0)
    axes[0].legend(frameon=False)
    return figure


def encoding_space(images: np.ndarray, grammar: Grammar) -> plt.Figure:
    """Figure 3: the pictures of all states, uint8 (states, height, width, 3): half of the axes down, the others across.

    Larger ones than 64 px are shrunk to that, which is more than the figure shows of each.
    """
    images = np.stack([plots.shrunk(image, 64) for image in images])
    (_, height, width, _), rows = images.shape, prod(grammar.shape[: len(grammar.axes) // 2])
    sheet = images.reshape(rows, -1, height, width, 3).swapaxes(1, 2).reshape(rows * height, -1, 3)
    figure, ax = plt.subplots(figsize=(5, max(5 * sheet.shape[0] / sheet.shape[1], 1)))
    ax.imshow(sheet)
    plots.name_states(ax, grammar, (width, height))
    ax.set_title(f"The encoding space: {grammar.size} states, one picture each")
    return figure


def perception(truth: np.ndarray, seen: np.ndarray, grammar: Grammar) -> plt.Figure:
    """A confusion matrix per axis, its accuracy over it; truth (what was asked for), seen: word numbers, (n, axes)."""
    number = len(grammar.axes)
    figure, axes = plt.subplots(1, number, figsize=(3.25 * number, 3.4), squeeze=False)
    for k, (ax, (axis, words)) in enumerate(zip(axes[0], grammar.axes.items(), strict=True)):
        right = (truth[:, k] == seen[:, k]).mean()
        plots.confusion(ax, truth[:, k], seen[:, k], words).set_title(f"{axis}: {right:.1%}")
    return figure


def reward_landscapes(landscapes: Mapping[int, np.ndarray], grammar: Grammar, target: int) -> plt.Figure:
    """Figure 5: rewards 1, 2 and 3 of all states, (states,) each; the target starred. A reward of few values has as many colours."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.8), width_ratios=(1.15, 1, 1))
    names = ("multi-semantic", "partial-semantic", "CLIP")
    for ax, (kind, values), name in zip(axes, landscapes.items(), names, strict=True):
        levels, look = np.unique(values), {"cmap": "viridis"}
        if 2 <= len(levels) <= 12:
            ends = np.r_[1.5 * levels[0] - 0.5 * levels[1], (levels[1:] + levels[:-1]) / 2, 1.5 * levels[-1] - 0.5 * levels[-2]]
            look["norm"] = BoundaryNorm(ends, 256)
        plots.landscape(ax, values, grammar, target, sides="xy" if ax is axes[0] else "x", **look).set_title(f"Reward {kind}: {name}")
        if "norm" in look:
            figure.axes[-1].minorticks_off()
            figure.axes[-1].set_yticks(levels, [f"{value:g}" for value in levels])
    return figure


#: search methods that have a colour of their own; the others are grey
METHODS = {"encoder only": "#444444", "factored agent": "#7b3294", "consistent": "#000000", "Thompson, additive": "#009e73",
           "UCB, additive": "#66a61e", "one axis at a time": "#332288", "noisy gradient": plots.COLOURS["nDg"],
           "TPE": "#e69f00", "GA": "#56b4e9", "hill-climb": "#8c564b", "Q": plots.COLOURS["Q"], "SARSA": plots.COLOURS["SARSA"],
           "random draw": plots.COLOURS["Random"]}  # fmt: skip


def solved(panels: Mapping[str, Mapping[str, np.ndarray]]) -> plt.Figure:
    """Share of runs solved against the calls, one panel per title, one line per method, labelled where it passes one half.

    Methods without a colour of their own are thin and grey, without a label.

    Args:
        panels: title -> method -> share solved after each call, (calls,).
    """
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11.5, 4.3 * rows), sharey=True)
    for (title, curves), ax in zip(panels.items(), axes.flat, strict=False):
        most = max(map(len, curves.values()))
        for method, share in curves.items():
            known = method in METHODS
            style = {"color": METHODS.get(method, "#bbbbbb"), "lw": 1.8 if known else 0.8, "ls": "--" if method == "random draw" else "-"}
            ax.step(np.arange(1, len(share) + 1), share, where="post", zorder=3 if known else 1, **style)
        ax.set(xscale="log", xlim=(0.95, most * 1.05), ylim=(0, 1.02), xlabel="calls (distinct pictures)", ylabel="share solved")
        ticks = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 240, 480) if n <= most]
        ax.set_xticks(ticks, ticks)
        ax.minorticks_off()
        ax.axhline(0.5, color="#dddddd", lw=0.8, zorder=0)
        _label(ax, {method: share for method, share in curves.items() if method in METHODS}, most)
        ax.set_title(title, pad=74, loc="left", weight="bold")
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    return figure


def _label(ax: plt.Axes, curves: Mapping[str, np.ndarray], most: int) -> None:
    """Names above the panel, each with a line down to where its curve passes one half, or ends below."""
    marks = []
    for method, share in curves.items():
        passed = (share >= 0.5).any()
        at = int(np.argmax(share >= 0.5)) if passed else len(share) - 1
        marks.append((at + 1, share[at], method))
    marks.sort(key=lambda mark: (mark[0], -mark[1]))
    width, gap = np.log(most * 1.05 / 0.95), 0.062
    places = np.array([np.log(x / 0.95) / width for x, _, _ in marks])
    for _ in range(200):  # push neighbours apart
        lack = np.maximum(gap - np.diff(places), 0) / 2
        places = np.clip(places + np.pad(lack, (1, 0)) - np.pad(lack, (0, 1)), 0, 1)
    for (x, y, method), place in zip(marks, places, strict=True):
        color = METHODS[method]
        ax.plot(x, y, "o", ms=4, color=color, zorder=4)
        line = {"arrowstyle": "-", "color": color, "lw": 0.7, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x, y), (place, 1.03), textcoords="axes fraction", arrowprops=line)
        style = {"rotation": 50, "ha": "left", "va": "bottom", "rotation_mode": "anchor", "color": color, "fontsize": 9}
        ax.text(place, 1.04, method.removesuffix(", additive"), transform=ax.transAxes, **style)


def judged(table: pd.DataFrame) -> plt.Figure:
    """Whether fresh pictures of the sentence found show all that the input has, one panel per reward; dashed: of the true sentence.

    A method's own answer is a diamond in the method's colour.

    Args:
        table: of `contest.judged`.
    """
    kinds = sorted(table["reward"].unique())
    figure, axes = plt.subplots(1, len(kinds), figsize=(5.2 * len(kinds), 3.8), sharex=True, squeeze=False)
    for kind, ax in zip(kinds, axes[0], strict=True):
        part = table[(table["reward"] == kind) & (table["method"] != "true sentence")].iloc[::-1]
        truth = table[(table["reward"] == kind) & (table["method"] == "true sentence")].iloc[0]
        ax.axvspan(truth["all low"], truth["all high"], color="#eeeeee", zorder=0)
        ax.axvline(truth["all"], color="black", ls="--", lw=1)
        for place, (_, row) in enumerate(part.iterrows()):
            method = row["method"].removesuffix(", own answer")
            color, marker = METHODS.get(method, "#999999"), "o" if method == row["method"] else "D"
            ax.plot((row["all low"], row["all high"]), (place, place), color=color, lw=1.5)
            ax.plot(row["all"], place, marker, color=color, ms=5)
        ax.set_yticks(range(len(part)), part["method"], fontsize=8)
        ax.set(title=f"reward {kind}", xlabel="share of fresh pictures with all axes right", xlim=(0, 1.02))
    return figure
