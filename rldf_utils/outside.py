"""Pictures from outside the small world: how unlike its renders an input looks.

tiny-clip saw renders alone and lays every photograph among them: neither its likeliest sentence's cosine nor distances of its
embeddings tell them apart. A network that was trained on ImageNet does, by the direction of its features alone. How well, and how
the threshold was chosen: results/bench/outside.md, made by tests/bench/outside.py.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageOps

from rldf_utils import fid
from rldf_utils.perceive import Clip
from rldf_utils.tiny import world  # its renders stand in for the photographs that a CLIP is trained on

RENDERS = 128  #: of random semantics, whose mean stands for the small world
SEEDS = 2**42  #: where the seeds of these renders begin; no other picture has one of them
THRESHOLD = 0.58  #: 99 % of renders and pictures that the choice rests on lie below; no photograph had a say in it
_known: set[bytes] = set()


class OutsideWarning(UserWarning):
    """An input unlike everything that the small world's CLIP was trained on."""


def random_render(rng: np.random.Generator, seed: int) -> np.ndarray:
    """A render of words drawn evenly from all axes, every style included."""
    return world.render({axis: words[rng.integers(len(words))] for axis, words in world.VOCABULARY.items()}, seed)


@lru_cache
def _centre() -> tuple[fid.Network, np.ndarray]:
    """The feature network and the mean of the renders' features, a unit vector (d,); made once per process, in about 2 s."""
    network, rng = fid.network("tiny"), np.random.default_rng(SEEDS)
    mean = fid.features([random_render(rng, SEEDS + i) for i in range(RENDERS)], network).mean(0)
    return network, mean / np.linalg.norm(mean)


def strangeness(images: Sequence[np.ndarray]) -> np.ndarray:
    """1 - cosine between an image's features and the mean of renders', float (n,) from 0 to 2; beyond `THRESHOLD` is outside.

    An image, uint8 (height, width, 3), is first scaled to the world's 64 pixels and cut in the middle, as tiny-clip does.
    """
    network, centre = _centre()
    small = [np.asarray(ImageOps.fit(Image.fromarray(image), (world.SIZE, world.SIZE), Image.Resampling.BICUBIC)) for image in images]
    found = fid.features(small, network)
    return 1 - found @ centre / np.linalg.norm(found, axis=1)


def warn(images: Mapping[str, np.ndarray], clip: Clip) -> None:
    """An `OutsideWarning` for each image (name -> pixels) beyond the threshold, once per process, if `clip` saw only renders."""
    if not clip.renders_only or not images:
        return
    for (name, image), score in zip(images.items(), strangeness(list(images.values())), strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(image)).digest()
        if score > THRESHOLD and digest not in _known:
            _known.add(digest)
            warnings.warn(
                f"{name} looks unlike the small world's pictures ({score:.2f}, the limit is {THRESHOLD}): the sentence that is read "
                'off it is a guess; use SCALE = "paper" for photographs',
                OutsideWarning,
                stacklevel=2,
            )
