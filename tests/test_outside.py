"""Pictures from outside the small world are told, and said once; renders and what becomes of them are not. Figures: results/bench."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rldf_utils import generate, outside, perceive
from rldf_utils.tiny.sampling import BASE, HELD_OUT


@pytest.fixture(scope="module")
def photographs():
    """16 photographs, and 24 faces from as many others."""
    data = Path(pytest.importorskip("skimage").__file__).parent / "data"
    names = """astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png grass.png gravel.png
               hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg""".split()
    faces = (np.load(data / "lfw_subset.npy")[:24] * 255).astype(np.uint8)
    return [perceive.read_image(data / name) for name in names] + list(np.stack([faces] * 3, 3))


@pytest.fixture(scope="module")
def renders():
    rng = np.random.default_rng(0)
    return [outside.random_render(rng, HELD_OUT + 10**9 + i) for i in range(60)]


@pytest.fixture(scope="module")
def pictures():
    prompts = [BASE.surface(BASE.encoding(int(state))) for state in np.random.default_rng(1).integers(BASE.size, size=32)]
    first, second = generate.Diffusers("tiny-sd-v1"), generate.Diffusers("tiny-sd-v2")
    parts = [(first, 0), (first, 8), (second, 16), (second, 24)]
    return [image for model, i in parts for image in model(prompts[i : i + 8], range(i, i + 8))]


@pytest.fixture(scope="module")
def clip():
    return perceive.clip("tiny")


def jpeg(image, edge):
    buffer = io.BytesIO()
    Image.fromarray(image).resize((edge, edge)).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def test_photographs_are_told_from_renders_and_pictures(photographs, renders, pictures):
    """On more of each: results/bench/outside.md."""
    strange = outside.strangeness(photographs)
    known = outside.strangeness(renders + pictures + [jpeg(r, edge) for r, edge in zip(renders[:24], [48, 96, 300, 512] * 6, strict=True)])
    assert np.mean(strange[:, None] > known) > 0.99
    assert np.mean(strange > outside.THRESHOLD) >= 0.9 and np.mean(known > outside.THRESHOLD) <= 0.03


def test_tiny_clip_itself_does_not_tell_them(photographs, renders, clip):
    """Why another network is asked: were tiny-clip's own cosines enough, it would not be needed."""
    texts = clip.embed_texts([BASE.surface(state) for state in BASE.states()])
    best = [(clip.embed_images(images) @ texts.T).max(1) for images in (photographs, renders)]
    assert np.mean(best[0][:, None] < best[1]) < 0.85


def test_the_score_does_not_depend_on_neighbours_or_size(renders):
    together = outside.strangeness(renders[:4])
    assert together == pytest.approx([outside.strangeness([render])[0] for render in renders[:4]], abs=1e-5)
    large = [render.repeat(4, 0).repeat(4, 1) for render in renders[:4]]
    assert outside.strangeness(large) == pytest.approx(together, abs=0.05), "scaling up and down again softens edges"


def test_the_warning_names_the_image_says_what_to_do_and_comes_once(photographs, renders, clip, monkeypatch):
    monkeypatch.setattr(outside, "_known", set())
    images = {"a render": renders[0], "cat.png": photographs[3]}
    with pytest.warns(outside.OutsideWarning, match=r'^cat.png looks unlike .* is a guess; use SCALE = "paper"') as caught:
        outside.warn(images, clip)
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outside.warn({"the input": photographs[3]}, clip)
        outside.warn({}, clip)


def test_a_clip_that_saw_photographs_does_not_warn(photographs, clip, monkeypatch):
    monkeypatch.setattr(outside, "_known", set())
    monkeypatch.setattr(clip, "renders_only", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outside.warn({"coffee": photographs[5]}, clip)
