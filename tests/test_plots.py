"""Figures: texts are shown as they are written."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from rldf_utils import plots

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
