"""Charts of a clone: its marginals beside the real set's, its balance, and contact sheets that mark what went wrong."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import plots

#: the sets in their order, with what figures call them
NAMES = {"real": "real", "context": "context clone", "all": "all-axes clone", "sampled": "sampled sentences", "plain": "plain names"}
COLOURS = {"real": "#009e73", "context": "#0072b2", "all": "#56b4e9", "sampled": "#e69f00", "plain": "#d55e00"}
WRONG = "#d62728"
MOST = 24  #: classes on a contact sheet


def marginals(table: pd.DataFrame, axes: Mapping[str, Sequence[str]], columns: int = 4) -> plt.Figure:
    """How often each word of an axis stands: one panel per axis, one row per word, one mark per set.

    Args:
        table: set, axis, word, share; of sets by their names in `NAMES`, with " (read)" for what CLIP read off it, drawn hollow.
    """
    rows = -(-len(axes) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(9.5, 2.5 * rows), squeeze=False)
    order = list(dict.fromkeys(name.removesuffix(" (read)") for name in table["set"]))
    for ax in panels.flat[len(axes) :]:
        ax.axis("off")
    for (axis, words), ax in zip(axes.items(), panels.flat, strict=False):
        places = np.arange(len(words))[::-1]
        for name, part in table[table["axis"] == axis].groupby("set", sort=False):
            share = part.set_index("word")["share"].reindex(list(words)).to_numpy()
            colour, hollow = COLOURS[name.removesuffix(" (read)")], name.endswith("(read)")
            look = {"marker": "D", "ms": 6.5, "mfc": "none"} if hollow else {"marker": "o", "ms": 4, "mfc": colour}
            above = 0.22 * ((len(order) - 1) / 2 - order.index(name.removesuffix(" (read)")))  # so that no mark hides another
            ax.plot(share, places + above, ls="", mec=colour, **look)
        ax.axvline(1 / len(words), color="#b0b0b0", lw=1, ls="--")
        ax.set_yticks(places, [word or "(plain)" for word in words], fontsize=8)
        ax.set(title=axis, xlim=(-0.04, 1.04), ylim=(-0.6, len(words) - 0.4), xticks=(0, 0.5, 1))
    labels = {name: NAMES[name.removesuffix(" (read)")] + (", as CLIP reads it" if name.endswith("(read)") else "")
              for name in table["set"].unique()}  # fmt: skip
    handles = [plt.Line2D([], [], ls="", marker="D" if "(read)" in name else "o", mec=COLOURS[name.removesuffix(" (read)")],
                          mfc="none" if "(read)" in name else COLOURS[name], label=label) for name, label in labels.items()]  # fmt: skip
    handles.append(plt.Line2D([], [], color="#b0b0b0", ls="--", label="balanced"))
    figure.legend(handles=handles, frameon=False, ncols=3, loc="outside upper center")
    figure.supxlabel("share of the pictures in which the axis shows", fontsize=9)
    return figure


def balance(table: pd.DataFrame) -> plt.Figure:
    """Evenness of every axis, one group of bars per axis, one bar per set; a black line where renders of its sentences stand.

    Args:
        table: axes down; sets across, by their names in `NAMES`, and "<set> (renders)" for those that have a ceiling.
    """
    sets = [name for name in NAMES if name in table]
    figure, ax = plt.subplots(figsize=(9.5, 3.2))
    width, places = 0.8 / len(sets), np.arange(len(table))
    for k, name in enumerate(sets):
        x = places + (k - (len(sets) - 1) / 2) * width
        ax.bar(x, table[name].fillna(0), width * 0.92, color=COLOURS[name], label=NAMES[name])
        if (ceiling := f"{name} (renders)") in table:
            label = "renders of the same sentences" if k == sets.index("context" if "context" in sets else name) else None
            ax.hlines(table[ceiling], x - width / 2, x + width / 2, color="black", lw=1.6, label=label)
        for place, value in zip(x, table[name], strict=True):
            if np.isnan(value):
                ax.text(place, 0.02, "none", rotation=90, ha="center", va="bottom", fontsize=8, color=COLOURS[name])
    ax.set_xticks(places, table.index)
    ax.set(ylim=(0, 1.03), ylabel="evenness as seen")
    figure.legend(frameon=False, ncols=len(sets) + 1, loc="outside upper center", columnspacing=1)
    return figure


def sheet(rows: Mapping[str, Sequence[Sequence[np.ndarray]]], sets: Sequence[str], cloned_as: Mapping[str, str],
          size: float = 0.5) -> plt.Figure:  # fmt: skip
    """Contact sheet: one row per class, one block of pictures per set. A class that was cloned as another is red and says as what.

    Of more classes than `MOST`, so many are shown, evenly spread.

    Args:
        rows: label of the class -> pictures of each set.
        cloned_as: of the classes that were taken for something else: label -> that word.
    """
    labels = list(rows)
    rows = {labels[k]: rows[labels[k]] for k in np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)}
    marked = {label: f"{label}\n(cloned as\n{cloned_as[label]})" if label in cloned_as else label for label in rows}
    figure = plots.side_by_side({marked[label]: blocks for label, blocks in rows.items()}, [NAMES[name] for name in sets], size)
    for ax in figure.axes:
        if "\n(cloned as\n" in ax.get_ylabel():
            ax.yaxis.label.set(color=WRONG)
    return figure


def searches(table: pd.DataFrame) -> plt.Figure:
    """Share of inputs whose object was found, with 95 % intervals, one row per method.

    Args:
        table: indexed by method: share, low, high, calls.
    """
    figure, ax = plt.subplots(figsize=(7.5, 0.38 * len(table) + 0.9))
    if not len(table):
        ax.axis("off")
        ax.text(0.5, 0.5, "not measured: nobody knows the right words of these pictures", ha="center", va="center")
        return figure
    y = np.arange(len(table))[::-1]
    spread = np.stack([table["share"] - table["low"], table["high"] - table["share"]])
    assert (spread >= 0).all(), "an interval holds its estimate"
    ax.errorbar(table["share"], y, xerr=spread, fmt="o", ms=5, capsize=3, color="#0072b2")
    ax.axvline(table["share"].iloc[0], color="#7f7f7f", ls="--", lw=1)
    for place, calls in zip(y, table["calls"], strict=True):
        ax.text(1.12, place, f"{calls:.0f} calls", va="center", ha="right", fontsize=8, color="#555555")
    ax.set_yticks(y, table.index)
    ax.set(xlim=(0, 1.13), ylim=(-0.6, len(table) - 0.4), xticks=np.linspace(0, 1, 6), xlabel="share of inputs whose object is found")
    return figure
