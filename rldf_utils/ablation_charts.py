"""Figures of the ablation: what shows and what is kept, condition by condition; and pictures, Figure 8."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import plots
from rldf_utils.ablation import CONDITIONS, RENDERS

COLOURS = ("#0072b2", "#d55e00", "#009e73")  #: of the models, in their order
PANELS = {"shows": "shows the concept", "in-domain": "its own word right", "cross-domain": "other axes right"}


def chart(table: pd.DataFrame) -> plt.Figure:
    """Shares by condition, with 95 % intervals: a row of panels per concept, a colour per model; renders, drawn by none, are grey.

    Args:
        table: `ablation.rows`, with the column concept.
    """
    concepts, names = table["concept"].unique(), [name for name in table["model"].unique() if name != "both"]
    order = [*RENDERS, *CONDITIONS]
    figure, axes = plt.subplots(len(concepts), 3, figsize=(9.5, 2.7 * len(concepts)), sharex=True, sharey=True, squeeze=False)
    for line, concept in zip(axes, concepts, strict=True):
        for ax, (column, title) in zip(line, PANELS.items(), strict=True):
            for k, name in enumerate(names):
                part = table[(table["concept"] == concept) & (table["model"] == name)].set_index("condition").reindex(order)
                error = part[column] - part[f"{column} low"], part[f"{column} high"] - part[column]
                y = np.arange(len(order)) + (k - (len(names) - 1) / 2) * 0.3
                for here, colour in ((slice(0, 2), "#7f7f7f"), (slice(2, None), COLOURS[k])):
                    spread = [side.iloc[here] for side in error]
                    ax.errorbar(part[column].iloc[here], y[here], xerr=spread, fmt="o", ms=4, lw=1.3, color=colour)
            ax.axhline(1.5, color="#b0b0b0", lw=0.8)
            ax.set_title(f"{concept}: {title}", loc="left")
            ax.grid(axis="x", color="#e5e5e5")
        line[0].set_yticks(range(len(order)), order)
        line[0].set_ylim(len(order) - 0.5, -0.5)
    for ax in axes[-1]:
        ax.set(xlim=(-0.02, 1.02), xlabel="share of pictures" if ax is not axes[-1][2] else "share of axes")
    handles = [plt.Line2D([], [], marker="o", ls="", color=colour, label=name) for name, colour in zip(names, COLOURS, strict=False)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def gallery(lines: Sequence[tuple[str, Mapping[str, tuple[np.ndarray, str, bool]]]]) -> plt.Figure:
    """Figure 8: a row per context, a column per condition, the sentence's own word over each picture.

    A red frame: the judge sees the concept, though it should not show.

    Args:
        lines: (label at the left, {condition: (picture, the word that its sentence says, whether it shows)}).
    """
    columns = list(lines[0][1])
    figure, axes = plt.subplots(len(lines), len(columns), figsize=(1.3 * len(columns) + 2.2, 1.5 * len(lines) + 0.3), squeeze=False)
    for line, (label, parts) in zip(axes, lines, strict=True):
        for ax, (condition, (picture, word, shown)) in zip(line, parts.items(), strict=True):
            plots.picture(ax, picture)
            ax.set(xticks=[], yticks=[])
            red = shown and condition != "said"
            ax.spines[:].set(visible=red, color="#d00000", lw=3)
            ax.set_xlabel(word, fontsize=8, labelpad=2)
        line[0].set_ylabel("\n".join(textwrap.wrap(label, 26)), rotation=0, ha="right", va="center", fontsize=8)
    for ax, condition in zip(axes[0], columns, strict=True):
        ax.set_title(condition.replace(", ", ",\n"), fontsize=9)
    return figure
