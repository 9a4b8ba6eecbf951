"""Sliders: walks, how they are followed, and the widget in JupyterLab in a real browser."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from browser import Browser, needs_browser

from rldf_utils import generate, grammar, sliders
from rldf_utils.tiny import judge, sampling, world

FULL = grammar.load("full")


@pytest.mark.parametrize("axis", sliders.AXES)
def test_a_walk_changes_its_axis_alone_in_order(axis):
    words = sliders.words(FULL)[axis]
    walks = sliders.walks(FULL, axis, 20, np.random.default_rng(0))
    assert len(walks) * len(words) >= 20 > (len(walks) - 1) * len(words)
    for walk in walks:
        assert tuple(step[axis] for step in walk) == words
        assert len({tuple(word for a, word in step.items() if a != axis) for step in walk}) == 1
        assert all(axis in world.visible(step) for step in walk)


def test_axes_walk_from_the_same_sentences():
    first = {axis: sliders.walks(FULL, axis, 60, np.random.default_rng(0))[:10] for axis in ("Weather", "Time", "Tone")}
    told = {axis: [FULL.surface(FULL.encode(walk[0] | {axis: sampling.PLAIN[axis]})) for walk in part] for axis, part in first.items()}
    assert told["Weather"] == told["Time"] and len(set(told["Time"])) == 10
    people = [walk[0]["Density"] in sliders.NEEDS["Tone"] for walk in first["Time"]]
    assert 0 < sum(people) < 10
    assert [one == two for one, two in zip(told["Tone"], told["Time"], strict=True)] == people


def test_renders_are_followed_and_the_rest_stays():
    words = sliders.words(FULL)["Weather"]
    walks = sliders.walks(FULL, "Weather", 80, np.random.default_rng(1))
    seen = [judge.Judge()(np.stack([world.render(step, 2**31 + k) for step in walk])) for k, walk in enumerate(walks)]
    place, changed = sliders.follow("Weather", walks, seen, words)
    assert sliders.spearman(place) > 0.98 and sliders.monotone(place).mean() > 0.9 and changed.mean() < 0.03


def test_measures_of_a_walk():
    straight = np.tile(np.arange(4.0), (3, 1))
    assert sliders.spearman(straight) == pytest.approx(1) and sliders.monotone(straight).all()
    assert sliders.spearman(straight[:, ::-1]) == pytest.approx(-1) and not sliders.monotone(straight[:, ::-1]).any()
    flat = np.zeros((3, 4))
    assert sliders.spearman(flat) == 0 and not sliders.monotone(flat).any(), "what never moves follows nothing"
    unknown = straight.copy()
    unknown[0, 1] = np.nan
    assert not sliders.monotone(unknown)[0] and sliders.spearman(unknown) < 1
    both = sliders.spearman(np.stack([straight, flat]))
    assert both.shape == (2,) and both[0] == pytest.approx(1) and both[1] == 0


def test_a_change_of_another_axis_is_counted_where_it_shows():
    plain = dict(sampling.PLAIN)
    walk = [[plain | {"Time": word} for word in sliders.words(FULL)["Time"]]]
    seen = [[dict(step) for step in walk[0]]]
    assert sliders.follow("Time", walk, seen, sliders.words(FULL)["Time"])[1].tolist() == [[0, 0]]
    seen[0][1]["Age"] = "old"  # nobody is there
    assert sliders.follow("Time", walk, seen, sliders.words(FULL)["Time"])[1].tolist() == [[0, 0]]
    seen[0][1]["Scene"] = "a kitchen"
    visible = len(world.visible(plain)) - 1
    assert sliders.follow("Time", walk, seen, sliders.words(FULL)["Time"])[1][0] == pytest.approx([1 / visible, 1 / visible])


def made(place: np.ndarray, changed: float) -> sliders.Slide:
    n, steps = place.shape
    return sliders.Slide(("a",) * steps, [], np.zeros(1), [], place, np.full((n, steps - 1), changed), np.zeros((n, steps - 1)))


def test_claims_know_a_slider_that_works_from_one_that_does_not():
    rng, steps = np.random.default_rng(0), 4
    random = rng.integers(steps, size=(60, steps)) * 1.0
    slides = {"works": made(np.tile(np.arange(float(steps)), (60, 1)), 0.0), "random": made(random, 0.3)}
    table = sliders.table(slides, rng)
    assert (table["spearman_low"] <= table["spearman"]).all() and (table["spearman"] <= table["spearman_high"]).all()
    assert table["by_chance"][1] == pytest.approx(table["monotone"][1], abs=0.1)
    verdicts = sliders.claims(table)["verdict"].tolist()
    assert verdicts == ["reproduced", "reproduced", "contradicted", "contradicted"]


def test_the_widget_draws_what_its_sliders_say():
    base = grammar.load("base")
    asked = []

    class Spy(generate.Null):
        def __call__(self, prompts, seeds):
            asked.extend(prompts)
            return super().__call__(prompts, seeds)

    box = sliders.widget(Spy(size=16), base, base.decode((0, 0, 0, 0)), seed=3)
    controls, picture = box.children[0].children
    before = picture.value
    controls.children[3].value = "a street"
    assert asked == ["a photo of one banana and no people in a forest", "a photo of one banana and no people in a street"]
    assert picture.value != before and box.children[1].value == asked[-1]


def wait(look, seconds: float = 120):
    """What `look` returns once it is true."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except OSError:
            pass
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.3)


CELL = """from rldf_utils import generate, grammar, sliders
base = grammar.load("base")
sliders.widget(generate.Null(size=16), base, base.decode((0, 0, 0, 0)))"""


RUN = """var accept = document.querySelector('.jp-Dialog .jp-mod-accept');
if (accept) accept.click(); // a slow machine is asked for the kernel, and what was to run does not
else if (document.querySelector('.jp-InputPrompt').innerText.trim() == '[ ]:')
    window.jupyterapp.commands.execute('notebook:run-all-cells');
undefined"""


@needs_browser
def test_the_widget_moves_in_jupyterlab(tmp_path):
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": CELL}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (tmp_path / "w.ipynb").write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=",
           "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={tmp_path}"]  # fmt: skip
    server, browser = subprocess.Popen(lab, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), None
    try:
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api"))
        browser = Browser(tmp_path / "profile", offline=False)
        browser("Page.navigate", url=f"http://127.0.0.1:{port}/lab/tree/w.ipynb")
        wait(lambda: browser.js("!!(window.jupyterapp && document.querySelector('.jp-Notebook'))"))
        picture = "document.querySelector('.widget-image')?.src"
        before = wait(lambda: browser.js(RUN) or browser.js(picture))
        browser.js("document.querySelectorAll('.noUi-handle')[3].focus()")
        for kind in ("keyDown", "keyUp"):
            browser("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
        wait(lambda: browser.js(picture) != before)
        assert "in a farm" in browser.js("document.querySelector('.jp-OutputArea').innerText")
    except BaseException:
        if browser:
            browser.picture(tmp_path / "page.png")
        raise
    finally:
        server.terminate()
        server.wait(20)
        if browser:
            browser.close()
