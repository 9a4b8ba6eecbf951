"""Charts of agents and searches: how they learn, and what becomes of the paper's claims about them."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import plots
from rldf_utils.env import RLDFEnv
from rldf_utils.grammar import Grammar
from rldf_utils.multiverse import Claim
from rldf_utils.readings import DEFAULT, LEVELS, Reading


def learning_curves(rows: Sequence[dict]) -> plt.Figure:
    """Mean reward per step over blocks of steps, one panel a reward.

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


STYLES = {"forward": ":", "central": "--", "spsa": "-"}  #: the estimators of `gradient.ESTIMATORS`


def gradient_arrivals(rows: pd.DataFrame, shape: Sequence[int]) -> plt.Figure:
    """Share of runs of the noisy diffusion gradient that have seen the target, against the calls; one panel per reward.

    Args:
        rows: reward, estimator, calls (infinite if the target was not seen).
        shape: words per axis. Drawing without return sees the target within k calls with probability k / states; one axis at
            a time needs 1 + the sum of the other words, if rewards 1 and 3 are perfect.
    """
    size, pass_ = np.prod(shape), 1 + sum(n - 1 for n in shape)
    kinds, calls = sorted(rows["reward"].unique()), np.unique(np.geomspace(1, size, 200).astype(int))
    figure, axes = plt.subplots(1, len(kinds), figsize=(3.9 * len(kinds), 3.4), sharey=True)
    for kind, ax in zip(kinds, np.atleast_1d(axes), strict=True):
        ax.plot(calls, calls / size, color=plots.COLOURS["Random"], lw=1.5, label="random, without return")
        for estimator, part in rows[rows["reward"] == kind].groupby("estimator"):
            share = (part["calls"].to_numpy()[:, None] <= calls).mean(0)
            ax.plot(calls, share, STYLES[estimator], color=plots.COLOURS["nDg"], lw=2, label=f"nDg, {estimator}")
        if kind != 2:
            ax.plot(pass_, 1, "k*", ms=11, clip_on=False, zorder=5, label=f"one axis at a time, perfect: {pass_} calls")
        ax.set(xscale="log", ylim=(0, 1.02), xlim=(1, size), title=f"reward {kind}", xlabel="calls")
        ax.xaxis.set_major_formatter("{x:.0f}")
    np.atleast_1d(axes)[0].set_ylabel("share of runs that saw the target")
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=8, loc="upper left")
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


def gradient_signal(ratios: Mapping[int, np.ndarray], needed: pd.DataFrame, chance: float) -> plt.Figure:
    """Left: signal-to-noise ratio of a difference by distance to the target. Right: calls against the pictures per state.

    Args:
        ratios: reward -> ratio at each distance from 1, (distances,).
        needed: reward, pictures, calls: one row per run; runs that never saw the target count with the most calls.
        chance: mean calls of random draws without return.
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
    right.axhline(chance, color=plots.COLOURS["Random"], lw=1.5, label="random, without return")
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
    figure, axes = plt.subplots(1, len(landscapes), figsize=(5 * len(landscapes), 5.2))
    most = len(grammar.axes)
    shades = plt.get_cmap("magma_r", most + 1)
    for (title, values), ax in zip(landscapes.items(), np.atleast_1d(axes), strict=True):
        without = (values[transitions].reshape(len(values), most, 2) == values[:, None, None]).all(2).sum(1)
        label = "axes without a signal"
        plots.landscape(ax, without, grammar, target, label, cmap=shades, vmin=-0.5, vmax=most + 0.5)
        ax.set_title(f"{title}: {(without == most).mean():.0%} of the states see nothing")
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
    """Steps and calls until the first arrival against the states: medians and the middle half; what drawing without return needs."""
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
