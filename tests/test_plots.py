"""Figures: texts are shown as they are written."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from rldf_utils import charts, plots
from rldf_utils import grammar as grammars

ODD = "price $5_a_b$"
PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def shown(figure):
    """What matplotlib draws of each text: (text, whether it is read as a formula)."""
    figure.draw_without_rendering()
    return {text.get_text(): text._preprocess_math(text.get_text())[1] for text in figure.findobj(Text) if text.get_text()}


def test_dollar_signs_in_titles_are_no_formula():
    texts = shown(plots.image_grid([PICTURE, PICTURE], [ODD, "$ and $ again $x^{$"], suptitle=ODD))
    assert not texts[ODD] and not texts["$ and $ again $x^{$"]


def test_dollar_signs_anywhere_in_a_saved_figure_are_no_formula(tmp_path):
    figure, axes = plt.subplots(1, 2)
    plots.confusion(axes[0], np.array([0, 1]), np.array([0, 1]), [ODD, "$\\frac{$"])
    axes[1].set(title=ODD, xlabel="$\\nothing$")
    axes[1].loglog([1, 1000], [1, 1000], label=ODD)
    axes[1].legend()
    path = plots.save_figure(figure, tmp_path, f"figure_{ODD}")
    assert Image.open(path).format == "PNG"
    texts = shown(figure)
    assert not texts[ODD] and not texts["$\\frac{$"] and not texts["$\\nothing$"]
    assert texts["$\\mathdefault{10^{2}}$"], "labels of log axes stay formulas"


@pytest.mark.parametrize(("shape", "goal"), [((3,), (1,)), ((2, 3), (1, 2)), ((4, 6, 4, 5), (2, 3, 0, 4))])
def test_figure_3_shows_every_state_of_three_axes_with_its_steps_to_the_goal(shape, goal):
    figure, ax = plt.subplots(subplot_kw={"projection": "3d"})
    grammar = grammars.grid(shape)
    states, star = plots.encoding_space(ax, grammar, goal).collections
    steps = {tuple(point): sum(abs(a - b) for a, b in zip(point, goal, strict=False)) for point in np.ndindex(*shape[:3])}
    del steps[goal[:3]]
    drawn = zip(*(np.asarray(c).astype(int).tolist() for c in states._offsets3d), states.get_array().tolist(), strict=True)
    assert {tuple(point)[: len(shape)]: value for *point, value in drawn} == steps
    assert [int(c[0]) for c in star._offsets3d][: len(shape)] == list(goal[:3])
    labels = [[text.get_text() for text in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis, ax.zaxis)]
    assert labels[: len(shape)] == [list(words) for words in grammar.axes.values()][:3]
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def test_figure_3_of_photographs_takes_the_memory_of_small_ones(monkeypatch):
    images = np.zeros((12, 512, 384, 3), np.uint8)
    images[5, :, 192:] = 200
    figure = charts.encoding_space(images, grammars.grid((3, 4)))
    (sheet,) = figure.axes[0].get_images()
    shown = np.asarray(sheet.get_array())
    assert shown.shape == (3 * 64, 4 * 48, 3) and shown.max() == 200
    assert (shown[64:128, 48:96][:, :24] == 0).all() and (shown[64:128, 48:96][:, 24:] == 200).all() and shown.sum() == 200 * 64 * 24 * 3


def test_photographs_are_smoothed_and_small_pictures_are_not():
    photo = np.indices((512, 512)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255  # grey, if it is not aliased
    shown = [ax.get_images()[0] for ax in plots.image_grid([photo, PICTURE]).axes]
    assert [image.get_interpolation() for image in shown] == ["auto", "nearest"]
    figure = plots.side_by_side({"a": [[photo], [photo]]}, ["one", "other"])
    (small, *_), again = figure.axes[0].get_images(), plots.shrunk(photo, 64)
    assert small.get_array().shape == (180, 180, 3) and abs(np.asarray(small.get_array()).mean() - 127.5) < 2
    assert again.shape == (64, 64, 3) and again.std() < 2 and plots.shrunk(PICTURE, 64) is PICTURE


def test_blocks_of_a_contact_sheet_may_have_unequal_numbers_of_pictures():
    figure = plots.side_by_side({"a": [[PICTURE], [PICTURE] * 3], "b": [[], [PICTURE] * 2]}, ["one", "other"])
    drawn = [[len(ax.get_images()) for ax in figure.axes[row * 7 :][:7]] for row in (0, 1)]
    assert drawn == [[1, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0]]


@pytest.mark.parametrize(("shape", "groups"), [((4, 6, 4, 5), (4, 4)), ((3,), (1, 1)), ((2, 3), (1, 1)), ((4, 18, 4, 15), (4, 4))])
def test_the_states_of_a_landscape_are_named_and_their_groups_parted(shape, groups):
    """Each group's word once, each state's in between, in letters that can be read; of a side with too many states the groups only."""
    grammar, values = grammars.grid(shape), np.random.default_rng(0).normal(size=np.prod(shape))
    figure = charts.reward_landscapes({kind: values for kind in (1, 2, 3)}, grammar, 1)
    ax, half, axes = figure.axes[0], len(shape) // 2, list(grammar.axes.values())
    lines = [line for line in ax.lines if line.get_color() == "white" and line.get_marker() == "None"]
    assert len(lines) == sum(groups) - 2
    for side, part in (("x", axes[half:]), ("y", axes[:half])):
        far = [child for child in ax.child_axes if getattr(child, f"get_{side}ticklabels")()]
        inner = [text.get_text() for text in getattr(ax, f"get_{side}ticklabels")()]
        cells = int(np.prod([len(words) for words in part])) if part else 0
        assert len(inner) == (cells if cells <= 30 else 0)
        if len(part) > 1:
            outer = [text.get_text() for child in far for text in getattr(child, f"get_{side}ticklabels")()]
            assert list(part[0]) == [text for text in outer if text in part[0]]
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


def test_a_reward_of_few_values_has_as_many_colours_as_values():
    grammar = grammars.grid((4, 6, 4, 5))
    values = np.random.default_rng(0).integers(-1, 4, 480).astype(float)
    figure = charts.reward_landscapes({1: values, 2: np.sign(values + 0.5), 3: np.linspace(-1, 1, 480)}, grammar, 1)
    images = [ax.get_images()[0] for ax in figure.axes if ax.get_images()]
    colours = [len(np.unique(image.to_rgba(image.get_array()).reshape(-1, 4), axis=0)) for image in images]
    assert colours[:2] == [5, 2] and colours[2] > 200
    bars = [[text.get_text() for text in ax.get_yticklabels()] for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bars[0] == ["-1", "0", "1", "2", "3"] and bars[1] == ["-1", "1"]
    charts.reward_landscapes({kind: np.zeros(480) for kind in (1, 2, 3)}, grammar, 1)
