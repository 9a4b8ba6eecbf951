"""The captioner: one sentence an image, whatever its neighbours; a model is a folder or a pinned hub id. How right: test_quality.py."""

import numpy as np
import pytest

from rldf_utils import perceive
from rldf_utils.tiny import sampling, world


@pytest.fixture(scope="module")
def captioner():
    return perceive.Captioner(batch=4)


@pytest.fixture(scope="module")
def pictures():
    words = [{"Noun": noun, "Scene": scene} for noun in ("dog", "pizza", "car") for scene in ("a farm", "a street")]
    return np.stack([world.render(w, sampling.HELD_OUT + i) for i, w in enumerate(words)])


def test_a_caption_is_a_sentence_that_the_grammar_parses(captioner, pictures):
    captions = captioner(pictures)
    assert len(captions) == len(pictures) and len(set(captions)) > 1
    toned = world.render({"Noun": "dog", "Density": "two", "Scene": "a park", "Tone": "dark-skinned"}, sampling.HELD_OUT)
    for caption in captions + captioner([toned]):
        sampling.FULL.parse(caption)
    assert "dark-skinned" in caption


def test_a_caption_does_not_depend_on_its_neighbours_or_on_the_padded_tail(captioner, pictures):
    together = captioner(pictures)
    assert [captioner([picture])[0] for picture in pictures] == together
    assert captioner(pictures[::-1]) == together[::-1]


def test_pictures_of_another_size_are_resized(captioner, pictures):
    large = [picture.repeat(4, 0).repeat(4, 1) for picture in pictures]
    assert captioner(large) == captioner(pictures)


def test_a_hub_id_needs_a_revision_and_a_folder_must_exist():
    with pytest.raises(ValueError, match="name a revision"):
        perceive.Captioner("Salesforce/blip2-opt-2.7b")
    with pytest.raises(FileNotFoundError, match="data/models has judge"):
        perceive.Captioner("no-such-captioner")
