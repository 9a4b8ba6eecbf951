"""Figures. A function draws on the axes it is given and returns them; `image_grid` makes a figure of pictures."""

import io
from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import nltk
import numpy as np
from matplotlib.text import Text
from PIL import Image

from rldf_utils.grammar import Grammar
from rldf_utils.results import write
from rldf_utils.rules import forms
from rldf_utils.search import Search

STYLE = {
    "figure.dpi": 110, "savefig.dpi": 120, "savefig.bbox": "tight", "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True, "image.interpolation": "nearest",
}  # fmt: skip
#: the agents and methods, distinct to colour-blind readers too
COLOURS = {"Q": "#0072b2", "Random": "#7f7f7f", "SARSA": "#d55e00", "nDg": "#cc79a7"}


def use_style() -> None:
    """The look of every figure of this project."""
    plt.rcParams.update(STYLE)


def as_written(figure: plt.Figure) -> plt.Figure:
    """Show the figure's texts as they are: dollar signs in file names and words are no formula. Labels of log axes are drawn later."""
    for text in figure.findobj(Text):
        if text.get_text():
            text.set_parse_math(False)
    return figure


def save_figure(figure: plt.Figure, folder: Path, name: str) -> Path:
    """Write folder/name.png, whole or not at all, show that very file in the notebook, and return its path.

    The file has a palette of 256 colours: a quarter of the bytes, and the difference is not seen.
    """
    buffer, small = io.BytesIO(), io.BytesIO()
    as_written(figure).savefig(buffer, format="png")
    plt.close(figure)
    picture = Image.open(buffer, formats=["PNG"]).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    path = write(folder / f"{name}.png", small.getvalue())
    IPython.display.display(IPython.display.Image(data=small.getvalue(), width=round(picture.width * 96 / STYLE["savefig.dpi"])))
    return path


def shrunk(image: np.ndarray, edge: int) -> np.ndarray:
    """A picture, uint8 (height, width, 3), no edge longer than said."""
    if (longest := max(image.shape)) <= edge:
        return image
    height, width = (max(1, edge * n // longest) for n in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def picture(ax: plt.Axes, image: np.ndarray) -> None:
    """A picture, uint8 (height, width, 3): pixel by pixel if it is one of the small world, else as smooth as a photograph is shown."""
    ax.imshow(image, interpolation="nearest" if max(image.shape) <= 64 else "auto")


def image_grid(images: Sequence[np.ndarray], titles: Sequence[str] | None = None, columns: int = 8, size: float = 1.15,
               suptitle: str | None = None, highlight: Sequence[int] = ()) -> plt.Figure:  # fmt: skip
    """Pictures in reading order, a title over each; those listed in `highlight` get a green frame."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max((t.count("\n") + 1 for t in titles), default=0) if titles else 0
    figure, axes = plt.subplots(
        rows, columns, figsize=(size * columns, (size + 0.15 * lines) * rows + (0.3 if suptitle else 0)), squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    for i, (image, ax) in enumerate(zip(images, axes.flat, strict=False)):
        picture(ax, image)
        if titles:
            ax.set_title(titles[i], fontsize=7)
        if i in highlight:
            ax.add_patch(plt.Rectangle((-0.5, -0.5), image.shape[1], image.shape[0], fill=False, ec="#009e73", lw=4))
    if suptitle:
        figure.suptitle(suptitle)
    return as_written(figure)


def side_by_side(rows: dict[str, Sequence[Sequence[np.ndarray]]], titles: Sequence[str], size: float = 0.75) -> plt.Figure:
    """Contact sheet: one row per class, in it one block of pictures per set; titles over the blocks."""
    each = max(len(block) for blocks in rows.values() for block in blocks)
    widths = ([1] * each + [0.4]) * len(titles)
    figure, axes = plt.subplots(len(rows), len(widths) - 1, figsize=(size * sum(widths) + 0.8, size * len(rows) + 0.4), squeeze=False,
                                gridspec_kw={"width_ratios": widths[:-1], "wspace": 0.02, "hspace": 0.02})  # fmt: skip
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for (label, blocks), line in zip(rows.items(), axes, strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for k, block in enumerate(blocks):
            for i, image in enumerate(block):
                picture(line[k * (each + 1) + i], shrunk(image, round(2 * size * STYLE["savefig.dpi"])))
    for k, title in enumerate(titles):
        axes[0, k * (each + 1)].set_title(title, loc="left", fontsize=9)
    return figure


def trajectory(image: np.ndarray, search: Search, agent: str = "", most: int = 8) -> plt.Figure:
    """Figure 12: the input and the pictures at the search's milestones (the last `most` of them); `agent`: a name for it."""
    walk, feedback, steps = search.trajectory, search.feedback, search.milestones[-most:]
    pictures = [feedback.image(int(walk.states[t])) for t in steps]
    titles = [f"input\n\n{agent or 'the search'}:\n{search.calls} calls"]
    for t in steps:
        encoding = feedback.grammar.encoding(int(walk.states[t]))
        words = short(feedback.grammar.surface(encoding))
        titles.append(f"t = {t + 1}, r = {walk.rewards[t]:.3g}, d = {feedback.env.to_target(encoding)}\n{words}")
    return image_grid([image, *pictures], titles, columns=most + 1, size=1.3, highlight=[0])


def short(prompt: str) -> str:
    """A prompt in lines short enough to stand over a small picture."""
    return prompt.removeprefix("a photo of ").replace(" and ", "\nand ").replace(" in ", "\nin ")


def parse_tree(ax: plt.Axes, tree: nltk.Tree) -> plt.Axes:
    """A parse tree, leaves on one line in sentence order; axes of the encoding are what the leaves hang from."""
    empty = sum(not len(node) for node in tree.subtrees())  # of words that may be empty
    height, places = tree.height(), len(tree.leaves()) + empty
    positions = iter(range(places))

    def draw(node, depth: int) -> float:
        if not isinstance(node, nltk.Tree):
            x = next(positions)
            ax.text(x, -height, " / ".join(forms(node)), ha="center", va="center", style="italic", color="#0072b2")
            return x
        children = [draw(child, depth + 1) for child in node]
        x = sum(children) / len(children) if children else next(positions)
        for child, child_x in zip(node, children, strict=True):
            ax.plot([x, child_x], [-depth - 0.2, (-depth - 0.8) if isinstance(child, nltk.Tree) else -height + 0.25], color="#b0b0b0", lw=1)
        ax.text(x, -depth, node.label(), ha="center", va="center", weight="bold")
        return x

    draw(tree, 0)
    ax.set(xlim=(-0.7, places - 0.3), ylim=(-height - 0.5, 0.5))
    ax.axis("off")
    return ax


def landscape(ax: plt.Axes, values: np.ndarray, grammar: Grammar, target: int | None = None, label: str = "reward",
              sides: str = "xy", **imshow) -> plt.Axes:  # fmt: skip
    """Values of all states, (states,), as one picture: half of the axes down, the others across; the target starred.

    Of an odd number of axes the larger half goes across; a single axis is one row.
    """
    rows = prod(grammar.shape[: len(grammar.axes) // 2])
    shown = ax.imshow(values.reshape(rows, -1), aspect="auto", **imshow)
    ax.figure.colorbar(shown, ax=ax, label=label, shrink=0.9)
    name_states(ax, grammar, sides=sides)
    if target is not None:
        y, x = divmod(target, values.size // rows)
        ax.plot(x, y, "*", ms=13, mfc="white", mec="black")
    return ax


def name_states(ax: plt.Axes, grammar: Grammar, cell: tuple[float, float] = (1, 1), sides: str = "xy", most: int = 30) -> None:
    """The words of all states beside a picture of them: half of the axes down, the others across.

    The first axis of a side stands farther out, one word per group, with a white line between two groups; the words of the
    others stand at every state, unless the side has more than `most`.

    Args:
        cell: width and height of a state, in the picture's pixels.
        sides: which sides have words.
    """
    half, names = len(grammar.axes) // 2, list(grammar.axes)
    for side, part, size in (("x", names[half:], cell[0]), ("y", names[:half], cell[1])):
        outer, *rest = [grammar.axes[name] for name in part] or [()]
        words = [", ".join(combination) for combination in product(*rest)] if rest else list(outer)
        groups, label, axis = len(outer) if rest else 1, ", then ".join(part), getattr(ax, f"{side}axis")
        named = side in sides and len(words) * groups <= most
        axis.set_ticks(size * (np.arange(len(words) * groups * named) + 0.5) - 0.5, words * groups * named, fontsize=8)
        for k in range(1, groups):
            (ax.axvline if side == "x" else ax.axhline)(size * len(words) * k - 0.5, color="white", lw=1.5)
        if side in sides and rest:
            far = getattr(ax, f"secondary_{side}axis")(0)
            axis = getattr(far, f"{side}axis")
            axis.set_ticks(size * len(words) * (np.arange(groups) + 0.5) - 0.5, outer, weight="bold", fontsize=8)
            far.tick_params(length=0, pad=6 + 4.6 * max(map(len, words)) * named, labelrotation=0 if side == "x" else 90)
            plt.setp(axis.get_ticklabels(), va="top" if side == "x" else "center")
            far.spines[:].set_visible(False)
        axis.set_label_text(label if side in sides else "")
    ax.tick_params(axis="x", rotation=90)


def confusion(ax: plt.Axes, truth: np.ndarray, seen: np.ndarray, words: Sequence[str]) -> plt.Axes:
    """Confusion matrix in percent of each row (what was asked for); `truth` and `seen` are word numbers, (n,); -1: nothing is seen."""
    counts = np.zeros((len(words), len(words)))
    np.add.at(counts, (truth[seen >= 0], seen[seen >= 0]), 1)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(percent):
        if value >= 0.5:
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value > 55 else "black")
    ax.set_xticks(range(len(words)), words, rotation=45, ha="right")
    ax.set_yticks(range(len(words)), words)
    ax.set(xlabel="seen", ylabel="asked for")
    return ax


def band(ax: plt.Axes, curves: np.ndarray, color: str, label: str) -> plt.Axes:
    """Mean of curves, (runs, steps), against the step, from 1, with the 95 % interval of the mean."""
    mean, error = curves.mean(0), 1.96 * curves.std(0, ddof=1) / len(curves) ** 0.5
    steps = np.arange(1, curves.shape[1] + 1)
    ax.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, lw=0)
    ax.plot(steps, mean, color=color, label=label)
    return ax


def encoding_space(ax: plt.Axes, grammar: Grammar, goal: Sequence[int]) -> plt.Axes:
    """Figure 3: the states of the first three axes as a grid, coloured by their steps to the goal, which is a star.

    The other axes stand at the goal's words; fewer than three axes make a plane or a line.

    Args:
        ax: of projection "3d".
        goal: an encoding.
    """
    pad = max(3 - len(grammar.axes), 0)
    names, words = [*grammar.axes, *[""] * pad][:3], [*grammar.axes.values(), *[("",)] * pad][:3]
    star = np.array([*goal, *[0] * pad][:3])
    points = np.array(list(product(*(range(len(axis)) for axis in words))))
    steps = np.abs(points - star).sum(1)
    for k in range(3):  # the lines through the goal are the moves along one axis
        line = points[(np.delete(points, k, 1) == np.delete(star, k)).all(1)]
        ax.plot(*line.T, color="black", lw=1.2, zorder=1)
    others = steps > 0
    look = {"cmap": "viridis", "depthshade": False, "edgecolors": "white", "linewidths": 0.5}
    shown = ax.scatter(*points[others].T, c=steps[others], s=120 / (1 + steps[others]), **look)
    ax.scatter(*star, marker="*", s=330, color="#d55e00", edgecolors="black", depthshade=False, zorder=10)
    ax.figure.colorbar(shown, ax=ax, label="steps to the goal", shrink=0.6, pad=0.12, ticks=range(1, steps.max() + 1))
    for axis, name, labels in zip((ax.xaxis, ax.yaxis, ax.zaxis), names, words, strict=True):
        axis.set_ticks(range(len(labels)), labels, fontsize=8)
        axis.set_label_text(name, weight="bold")
        axis.labelpad = 12
    return ax
