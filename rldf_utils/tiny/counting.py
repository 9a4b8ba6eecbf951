"""A second way to count, without a network: the world's sprites are known, so a picture is explained by them.

Independent of the judge: it sees a picture and the words that say which glyphs to look for, and no number. Each glyph is
laid on the likeliest painting of a scene at every place of the lattice and every size; what it would change there is
compared with what the picture shows there. Then the places that explain the most are taken one by one, none over another.

It says how many, not what: another glyph of much the same shape is counted, too.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from rldf_utils.tiny import world

SIZES = {"object": (16, 24, 32), "person": (16, 24)}  #: edges looked for, pixels
FOREIGN = 12  #: from so many levels of 255 on, the distance of a cell's mean from a painting's is cut: a sprite may cover it
NEAR = 8  #: mean error, in levels, within which a cell shows a painting of the scene
ALIKE = 0.55  #: least cosine between what a sprite would change and what is there
STRONG = 0.3  #: least contrast, as a share of the sprite's own: fainter ones are ghosts
CELLS = world.SIZE // world.LATTICE  #: a side


class Found(NamedTuple):
    """A sprite that explains a part of a picture."""

    kind: str  #: "object" or "person"
    x: int  #: of the upper left corner, as y and size in pixels
    y: int
    size: int
    likeness: float  #: cosine, see `ALIKE`


def _placements() -> tuple[list[Found], np.ndarray]:
    """Every place and size of both glyphs; and (placement, cell of the picture, row of `_templates`) of all cells they cover, (3, n)."""
    places, rows, first = [], [], 0
    for kind, sizes in SIZES.items():
        for size in sizes:
            edge = size // world.LATTICE
            for y in range(CELLS - edge + 1):
                for x in range(CELLS - edge + 1):
                    rows += [(len(places), CELLS * (y + i) + x + j, first + edge * i + j) for i in range(edge) for j in range(edge)]
                    places.append(Found(kind, x * world.LATTICE, y * world.LATTICE, size, 0.0))
            first += edge**2
    return places, np.array(rows).T


PLACES, COVER = _placements()
CELLS_OF = [COVER[1][COVER[0] == k] for k in range(len(PLACES))]  #: placement -> cells


def _cells(images: np.ndarray) -> np.ndarray:
    """(..., height, width, channels) as cells of the lattice, row by row: (..., n, edge, edge, channels), pixel art's half as large."""
    *n, height, width, channels = images.shape
    edge = world.LATTICE
    cells = images.reshape(*n, height // edge, edge, width // edge, edge, channels).swapaxes(-4, -3)
    return cells.reshape(*n, -1, edge, edge, channels)


def _finish(cells: np.ndarray, weather: str, time: str, style: str) -> np.ndarray:
    """Fog, time of day and pixel art on cells (..., 8, 8, 3), 0 to 255, that have none yet; in pixel art a block becomes one pixel."""
    if weather == "in the fog":
        cells = (cells + 225) / 2
    if time:
        cells = cells * (np.float32(world.TINTS[time]) / 255)
    return _blocks(cells) // 32 * 36 if style == "a pixel art picture of" else cells


def _blocks(cells: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, (..., 8, 8, 3) to (..., 4, 4, 3)."""
    return (cells[..., ::2, ::2, :] + cells[..., 1::2, ::2, :] + cells[..., ::2, 1::2, :] + cells[..., 1::2, 1::2, :]) / 4


@lru_cache(maxsize=2048)
def _templates(codepoint: str, sizes: tuple[int, ...], style: str, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """A glyph's cells in all sizes: premultiplied colour, 0 to 255, (n, 8, 8, 3), and opacity, 0 to 1, (n, 8, 8, 1); float32."""
    colours, opacities = [], []
    for size in sizes:
        rgba = world.sprite(codepoint, size, style, colour).astype(np.float32)
        if style == "an oil painting of":  # as its filter leaves them, on grey
            shape, flat = rgba[..., 3], rgba[..., :3] + 128 * (1 - rgba[..., 3:] / 255)
            shape, flat = (np.asarray(Image.fromarray(part.astype(np.uint8)).filter(ImageFilter.ModeFilter(3))) for part in (shape, flat))
            solid = (shape[..., None] > 127).astype(np.float32)
            rgba = np.concatenate([flat * solid, 255 * solid], -1)
        colours.append(_cells(rgba[..., :3]))
        opacities.append(_cells(rgba[..., 3:] / 255))
    return np.concatenate(colours), np.concatenate(opacities)


@lru_cache(maxsize=128)
def _paintings(weather: str, time: str, style: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every painting of every scene as cells, float32 (60, 64, 8, 8, 3); the same finished, and the means of the finished cells."""
    scenes = [world.background(scene, variant, style) for scene in world.SCENES for variant in range(world.VARIANTS)]
    bare = _cells(np.stack(scenes).astype(np.float32))
    finished = _finish(bare, weather, time, style)
    return bare, finished, finished.mean((-3, -2))


def _seen(cells: np.ndarray, weather: str, time: str, style: str) -> np.ndarray:
    """Where no rain or snow hides a finished picture's cells, float32 (64, edge, edge, 1), by the variant that it shows best."""
    drop = np.float32((70, 100, 150) if weather == "in the rain" else (255, 255, 255))
    drop = _finish(np.broadcast_to(drop, (1, 8, 8, 3)), weather, time, style)[0, 0, 0]
    hidden = np.stack([_cells(world._weather(weather, v)[..., None].astype(np.float32)) for v in range(world.VARIANTS)])
    hidden = (_blocks(hidden) if style == "a pixel art picture of" else hidden) > 0
    away = np.minimum(np.abs(cells - drop).sum(-1, keepdims=True), 128)
    return 1 - hidden[np.argmin([away[mask].mean() for mask in hidden])].astype(np.float32)


def _products(picture: np.ndarray, word: Mapping[str, str]) -> np.ndarray:
    """<change, there>, <change, change>, <there, there> of every placement, (3, placements), over what it would change.

    Change is what the sprite would do to the painting behind it, there is what the picture has in its place.
    """
    look = word["Weather"], word["Time"], word["Style"]
    cells = _cells(np.float32(picture))
    cells = _blocks(cells) if word["Style"] == "a pixel art picture of" else cells
    paintings, finished, means = _paintings(*look)
    best = np.minimum(np.abs(means - cells.mean((-3, -2))), FOREIGN).sum((1, 2)).argmin()
    scene = best - best % world.VARIANTS
    errors = np.abs(finished[scene : scene + world.VARIANTS] - cells).mean((2, 3, 4))  # models mix a scene's paintings, cell by cell
    near = np.where(errors.min(0) < NEAR, scene + errors.argmin(0), best)
    bare, finished = (part[near, np.arange(CELLS**2)] for part in (paintings, finished))
    person = (world.VERBS[word["Verb"]] if word["Verb"] else world.PORTRAITS[word["Age"], word["Gender"]]) + world.TONES[word["Tone"]]
    glyphs = {"object": (world.nouns()[word["Noun"]][0], word["Colour"]), "person": (person, "")}
    parts = [_templates(code, SIZES[kind], word["Style"], colour) for kind, (code, colour) in glyphs.items()]
    colours, opacities = (np.concatenate(both) for both in zip(*parts, strict=True))
    place, cell, row = COVER
    there, change = cells - finished, _finish(colours[row] + (1 - opacities[row]) * bare[cell], *look) - finished[cell]
    if word["Weather"] in ("in the rain", "in the snow"):
        seen = _seen(cells, *look)
        there, change = there * seen, change * seen[cell]
    change, there = change.reshape(len(cell), -1), there.reshape(len(there), -1)[cell]
    parts = [np.einsum("ij,ij->i", *pair) for pair in ((change, there), (change, change), (there * (change != 0), there))]
    return np.stack([np.bincount(place, part) for part in parts])


def find(picture: np.ndarray, semantics: Mapping[str, str]) -> list[Found]:
    """The objects and people of a picture.

    Args:
        picture: uint8 (64, 64, 3), on the world's lattice: a render, or of a model whose autoencoder has its patches.
        semantics: what to look for, missing axes as in `world.DEFAULTS`; not read: `Frequency`, `Density` and `Scene`.
    """
    word = {**world.DEFAULTS, **semantics}
    dot, change, there = _products(picture, word)
    likeness, contrast = dot / np.sqrt(change * there + 1), np.clip(dot / (change + 1), 0, 1.2)
    won = 2 * contrast * dot - contrast**2 * change  # the squared error that a sprite of this contrast explains
    able = np.flatnonzero((likeness > ALIKE) & (contrast > STRONG))
    best = []
    for power in (0, 4, 8):  # what goes first: a sprite that explains much, or rather one that fits exactly
        taken, found = np.zeros(CELLS**2, bool), []
        for k in able[np.argsort(-(won * likeness**power)[able])]:
            if not taken[CELLS_OF[k]].any():
                taken[CELLS_OF[k]] = True
                found.append(k)
        best = max(best, found, key=lambda some: won[np.array(some, int)].sum())
    return [PLACES[k]._replace(likeness=float(likeness[k])) for k in best]


def count(pictures: Sequence[np.ndarray], semantics: Sequence[Mapping[str, str]]) -> np.ndarray:
    """How many objects and people are in each picture, int (n, 2); arguments: many of `find`'s."""
    kinds = [[one.kind for one in find(*both)] for both in zip(pictures, semantics, strict=True)]
    return np.array([(k.count("object"), k.count("person")) for k in kinds]).reshape(-1, 2)
