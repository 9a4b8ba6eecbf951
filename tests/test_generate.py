"""Generation: an image depends on (model, prompt, seed, settings) alone, and the cache loses, mixes and miscounts nothing."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from rldf_utils import cache, generate, results
from rldf_utils.tiny import autoencoder

PROMPTS = [f"a photo of one {noun} and no people in a farm" for noun in ("banana", "car", "dog", "coin", "monkey")]
SEEDS = [3, 1, 4, 1, 5]


class Painter:
    """A model of no size: a picture of one colour drawn from prompt and seed; counts what it is asked."""

    fingerprint, batch = "painter", 4

    def __init__(self):
        self.batches = []

    def __call__(self, prompts, seeds):
        self.batches.append(len(prompts))
        return np.stack(
            [np.random.default_rng([*p.encode(), s]).integers(0, 256, (8, 8, 3), np.uint8) for p, s in zip(prompts, seeds, strict=True)]
        )


@pytest.fixture(scope="module")
def tiny():
    return generate.Diffusers("tiny-sd-v1")


@pytest.fixture(scope="module")
def images(tiny):
    return tiny(PROMPTS, SEEDS)


def test_the_shipped_folder_is_a_plain_diffusers_pipeline():
    pipe = StableDiffusionPipeline.from_pretrained(results.MODELS / "tiny-sd-v1", use_safetensors=True)
    assert isinstance(pipe.vae, autoencoder.PatchAutoencoder)
    image = pipe(PROMPTS[0], num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (64, 64, 3)


def test_models_are_safetensors_only():
    suffixes = {path.suffix for path in results.MODELS.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".txt", ".md", ".png"}


def test_images_are_what_they_claim(images):
    assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
    assert all(image.std() > 10 for image in images), "no picture is of one colour"
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_bytes_do_not_depend_on_order(tiny, images, order):
    assert (tiny([PROMPTS[i] for i in order], [SEEDS[i] for i in order]) == images[list(order)]).all()


def test_bytes_do_not_depend_on_neighbours_or_on_the_padded_tail(tiny, images):
    assert (tiny(PROMPTS[:1], SEEDS[:1])[0] == images[0]).all()
    crowd = tiny([*["a photo of many coins and many people in a street"] * 7, PROMPTS[2]], [*range(7), SEEDS[2]])
    assert (crowd[7] == images[2]).all()


def test_bytes_do_not_depend_on_the_object_or_the_cache(images, tmp_path):
    cold = generate.Cache(generate.Diffusers("tiny-sd-v1"), tmp_path)
    assert (cold(PROMPTS, SEEDS) == images).all() and cold.made == 5
    warm = generate.Cache(generate.Diffusers("tiny-sd-v1"), tmp_path)
    assert (warm(PROMPTS, SEEDS) == images).all() and warm.made == 0


def test_bytes_do_not_depend_on_how_many_batches_are_drawn_at_once(images, tmp_path, monkeypatch):
    monkeypatch.setattr(generate.Diffusers, "hands", 3)
    threads = torch.get_num_threads()
    several = generate.Diffusers("tiny-sd-v1", batch=8)
    prompts, seeds = PROMPTS * 7, [*SEEDS * 7]
    seeds[5:25] = range(20)  # five batches of eight, one of them of two
    at_once = np.concatenate(list(cache.drawn(several, prompts[:34], seeds[:34])))
    one_by_one = np.concatenate([several(prompts[start:start + 8][: 34 - start], seeds[start:start + 8][: 34 - start])
                                 for start in range(0, 34, 8)])  # fmt: skip
    assert (at_once == one_by_one).all() and (at_once[:5] == images).all()
    assert torch.get_num_threads() == threads, "the cores are given back"


def test_prompt_seed_and_settings_matter(tiny, images):
    assert (tiny(PROMPTS[:1], [99])[0] != images[0]).any()
    other = generate.Diffusers("tiny-sd-v1", guidance=1.0)
    assert other.fingerprint != tiny.fingerprint
    assert (other(PROMPTS[:1], SEEDS[:1])[0] != images[0]).any()


def test_bad_models_are_clear_errors():
    with pytest.raises(FileNotFoundError, match="there is no model folder nothing-here; data/models has"):
        generate.Diffusers("nothing-here")
    with pytest.raises(ValueError, match="name a revision"):
        generate.Diffusers("CompVis/stable-diffusion-v1-4")


def test_blackened_images_and_those_of_one_colour_are_recorded_and_told(tiny):
    model, drawn = generate.Diffusers("tiny-sd-v1"), np.random.default_rng(0).random((8, 64, 64, 3))
    drawn[1] = 0
    drawn[2] = 0.5
    flags = SimpleNamespace(images=drawn, nsfw_content_detected=[False, True, False, *[True] * 5])
    model.__dict__["pipe"] = MagicMock(return_value=flags, encode_prompt=lambda *_: (torch.zeros(1, 2, 3),))
    with pytest.warns(UserWarning, match="blackened by the model's safety checker: 'b', seed 6"):
        model(["a", "b", "c"], [5, 6, 7])
    assert model.flagged == {("b", 6): "blackened by the model's safety checker", ("c", 7): "of one colour"}, "and not the padded tail"
    drawn[0, 3, 4] = np.nan
    with pytest.warns(UserWarning, match="not finite in float32: 'a', seed 5"):
        assert (model(["a", "b", "c"], [5, 6, 7])[0] == 0).all() and model.flagged["a", 5] == "not finite in float32"
    drawn[:3] = np.nan
    with pytest.raises(FloatingPointError, match="'a', seed 5: .*not finite"):
        model(["a", "b", "c"], [5, 6, 7])


def test_the_committed_results_models_are_the_same_as_ever(tiny):
    """What identifies the tiny models stands in every committed metrics.json; settings of paper scale are no part of it."""
    metrics = json.loads((results.ROOT / "results" / "tiny" / "06_imagenet100_cloning" / "metrics.json").read_text())
    assert generate.Diffusers("tiny-sd-v1", device="cpu").fingerprint == metrics["models"]["diffusion"]
    assert set(json.loads(tiny.recipe["settings"])) == {"steps", "guidance", "size", "vae", "batch", "device"} and tiny.made == ""


def test_a_picture_of_a_device_that_is_not_here_says_so(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match='drawn on cuda, and torch sees no such device here.*"device": "cpu"'):
        generate.from_recipe(**generate.Diffusers("tiny-sd-v1", device="cuda").recipe)


def test_pictures_are_written_while_the_next_are_drawn(tmp_path, monkeypatch):
    """The model waits for no file but those of two batches before; the order and the bytes are the same."""
    writing, seen = [], []

    class Watching(Painter):
        def __call__(self, prompts, seeds):
            seen.append(len(writing))
            return super().__call__(prompts, seeds)

    def slow(path, data):
        writing.append(path)
        time.sleep(0.05)
        writing.remove(path)
        return results.write(path, data)

    monkeypatch.setattr(cache, "write", slow)
    drawn = generate.Cache(Watching(), tmp_path)([f"p{i}" for i in range(20)], [0] * 20)
    assert seen[0] == 0 and any(seen[1:]), "a later batch was drawn while files were written"
    assert (drawn == generate.Cache(Painter(), tmp_path)([f"p{i}" for i in range(20)], [0] * 20)).all()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError("No space left on device")

    monkeypatch.setattr(cache, "write", full)
    with pytest.raises(OSError, match="No space left"):
        generate.Cache(Painter(), tmp_path)(["a"], [0])


@pytest.mark.parametrize("n", [0, 9])
def test_a_batch_has_one_to_eight_images(tiny, n):
    with pytest.raises(ValueError, match="give 1 to 8"):
        tiny(["a"] * n, [0] * n)


def test_the_cache_counts_distinct_calls_and_makes_each_once(tmp_path):
    cache = generate.Cache(Painter(), tmp_path)
    first = cache(["a", "b", "a", "c", "d", "e"], [0, 0, 0, 0, 0, 0])
    assert (cache.calls, cache.made, cache.model.batches) == (5, 5, [4, 1])
    assert (first[0] == first[2]).all() and (first[0] != first[1]).any()
    cache(["a"], [1])
    cache(["z"], [0], count=False)
    assert (cache.calls, cache.made) == (6, 7)
    cache.reset()
    assert (cache(["b", "a"], [0, 0]) == first[[1, 0]]).all()
    assert (cache.calls, cache.made) == (2, 7)


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b"not a picture"),
        _flip,
        lambda path: path.write_bytes(_other_picture()),
    ],
    ids=["empty", "truncated", "text", "one bit", "a whole picture without our digest"],
)
def test_a_damaged_file_is_noticed_and_made_again(tmp_path, damage):
    cache = generate.Cache(Painter(), tmp_path)
    before = cache(["a", "b"], [0, 0])
    damage(cache._path("a", 0))
    again = generate.Cache(Painter(), tmp_path)
    assert (again(["a", "b"], [0, 0]) == before).all()
    assert (again.damaged, again.made) == (1, 1)
    assert generate.Cache(Painter(), tmp_path)(["a"], [0]).tobytes() == before[:1].tobytes()


def _other_picture():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


SHARER = """
import sys, time
import numpy as np
from rldf_utils import generate
sys.path.insert(0, {tests!r})
from test_generate import Painter
class Slow(Painter):
    def __call__(self, prompts, seeds):
        time.sleep(0.01)
        return super().__call__(prompts, seeds)
cache = generate.Cache(Slow(), {folder!r})
out = cache([f"p{{i}}" for i in range(60)], [0] * 60)
print(hash(out.tobytes()), cache.damaged)
"""


def test_two_processes_share_a_cache(tmp_path):
    code = SHARER.format(tests=str(results.ROOT / "tests"), folder=str(tmp_path))
    environment = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(results.ROOT)}
    pair = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0].strip() for process in pair]
    assert all(process.returncode == 0 for process in pair)
    assert outputs[0] == outputs[1] and outputs[0].endswith(" 0")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 60 and not [path for path in files if path.suffix != ".png"], "no partial file stays behind"


def test_a_recipe_makes_the_same_model_again(tiny, images):
    again = generate.from_recipe(**tiny.recipe)
    assert again.fingerprint == tiny.fingerprint and (again(PROMPTS, SEEDS) == images).all()
    assert generate.from_recipe(**tiny.recipe) is again, "a process loads it once"
    with pytest.raises(ValueError, match="the model folder tiny-sd-v1 holds .*; the recipe wants 0123"):
        generate.from_recipe(**{**tiny.recipe, "revision": "0123"})


def test_the_null_generator_depends_on_prompt_and_seed_alone():
    model = generate.Null(size=4, batch=3)
    one = model(["a", "b", "a"], [1, 1, 2])
    assert one.shape == (3, 4, 4, 3) and one.dtype == np.uint8 and len({image.tobytes() for image in one}) == 3
    assert (model(["b"], [1])[0] == one[1]).all()
    assert (generate.from_recipe(**model.recipe)(["a"], [2])[0] == one[2]).all()
