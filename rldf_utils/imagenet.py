"""ImageNet-100 and the sets around it (section 3.1, Tables 1 and 2), and their stand-ins of the OpenMoji world.

| Table 1 | scale "paper", below data/raw | below |
|---|---|---|
| IN | imagenet100/train, imagenet100/val (or the whole of ImageNet) | renders in photo style |
| Sketch | imagenet-sketch | line drawings |
| Im-R | imagenet-r | flat, painted, pixelated, silhouettes; half of them in another colour |
| Im-A | imagenet-a | the same photos made hard: tiny, cut off, hidden, crowded or dark |
| Im-O | imagenet-o | photos of 50 things that are none of the 100 nouns |
"""

import hashlib
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from rldf_utils import clone, grammar, outside
from rldf_utils.generate import png
from rldf_utils.images import class_folders, image_files, read_images
from rldf_utils.perceive import Clip
from rldf_utils.results import CACHE, DATA, choose, write
from rldf_utils.tiny import world  # below scale "paper", renders stand in for ImageNet-100 and the sets around it

SETS = {"IN": "imagenet100", "Sketch": "imagenet-sketch", "Im-R": "imagenet-r", "Im-A": "imagenet-a", "Im-O": "imagenet-o"}
OTHERS = """1F98A 1F43B 1F43C 1F428 1F42F 1F984 1F98C 1F40A 1F988 1F42C 1F577 1F997 1F982 1F351 1F350 1F34B 1F965 1F336 1F33D 1F954
            1F9C5 1F95A 1F35F 1F32D 1F37F 1F36B 1F36D 2615 1F37A 1F52A 1F527 2702 1F4CF 1F58A 1F4E6 1F4BB 1F5A8 1F50B 1F526 1F56F
            1F9F9 1F9FA 1F6C1 1F6BD 1F6CF 1F68C 1F69A 1F6F4 1F6A2 2693""".split()  #: glyphs of none of the 100 nouns
RENDITIONS = ("a flat icon of", "an oil painting of", "a pixel art picture of", "a silhouette of")
SEEDS = 2**41  #: where the seeds of these pictures begin; those that trained a model lie below 2^31
FULL = grammar.load("full")


def classes(scale: str) -> pd.DataFrame:
    """The 100 classes in the order of their ids, which is the order of torchvision's ImageFolder.

    Returns:
        class_id, label (the raw name), noun (ours, 'singular/plural'), ambiguous (whether the raw name means several
        things). At paper scale: CMC's list, as the paper uses it; below, the nouns of the OpenMoji world.
    """
    if scale == "paper":
        table = pd.read_csv(DATA / "imagenet" / "imagenet100.csv", keep_default_na=False)
        table["ambiguous"] = table["ambiguous"] == "yes"
    else:
        nouns = FULL.words["Noun"]
        ids = [world.nouns()[noun.split("/")[0]][0] for noun in nouns]
        table = pd.DataFrame({"class_id": ids, "label": [n.split("/")[0] for n in nouns], "noun": nouns, "ambiguous": False})
    return table.sort_values("class_id", ignore_index=True)[["class_id", "label", "noun", "ambiguous"]]


def check(folder: Path, wanted: Iterable[str]) -> None:
    """Refuse a folder that lacks classes; other lists called ImageNet-100 share 8 to 12 with the paper's.

    Args:
        folder: one folder a class, named by class id; more classes than wanted do no harm (all of ImageNet).

    Raises:
        FileNotFoundError: no such folder.
        ValueError: classes are missing; the message names what is missing and what is there instead; or there are no class
            folders at all, as in ILSVRC's validation set.
    """
    folder, wanted = Path(folder), set(wanted)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; put the set there, one folder a class, or a link to it")
    there = set(class_folders(folder))
    if wanted and not there:
        count = sum(path.is_file() for path in folder.iterdir())
        raise ValueError(
            f"{folder} has {count:,} files and no class folders. ILSVRC's validation set unpacks so; "
            f"torchvision.datasets.ImageNet({str(folder.parent)!r}, split='val') sorts it, if that folder holds "
            "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz"
        )
    if missing := sorted(wanted - there):
        other = sorted(there - wanted)
        raise ValueError(
            f"{folder} is another list of classes: it has {len(wanted) - len(missing)} of the {len(wanted)}. "
            f"Missing {len(missing)}: {', '.join(missing[:5])}, ...; instead {len(other)} others: {', '.join(other[:5])}, ... "
            "The paper's list is data/imagenet/imagenet100.csv."
        )


def picture(name: str, noun: str, rng: np.random.Generator) -> np.ndarray:
    """One picture of a stand-in set, uint8 (64, 64, 3).

    Count, people and place are drawn evenly; weather, time of day, and people's looks and deeds are plain in every
    second picture, and the first two in all sketches. `noun` is not looked at for Im-O.
    """
    choose("set", name, SETS)
    words = {axis: words[rng.integers(len(words))] for axis, words in FULL.axes.items()}
    for axis in ("Weather", "Time", "Age", "Tone", "Gender", "Verb"):
        if rng.random() < 0.5 or (name == "Sketch" and axis in ("Weather", "Time")):
            words[axis] = world.DEFAULTS[axis]
    style = {"Sketch": "a line drawing of", "Im-R": RENDITIONS[rng.integers(4)]}.get(name, "a photo of")
    colour = words["Colour"] if name == "Im-R" and rng.random() < 0.5 else ""
    words |= {"Noun": noun, "Style": style, "Colour": colour}
    other = OTHERS[rng.integers(len(OTHERS))] if name == "Im-O" else None
    image = world.render(words, SEEDS + int(rng.integers(2**40)), codepoint=other)
    return hard(image, words, rng) if name == "Im-A" else image


def hard(image: np.ndarray, words: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    """A picture made hard in one of five ways, as ImageNet-A's pictures are for a network."""
    match rng.choice(["tiny", "cut off", "hidden", "crowded", "dark"]):
        case "tiny":
            out = world.background(words["Scene"], int(rng.integers(world.VARIANTS))).copy()
            x, y = rng.integers(0, 40, 2)
            out[y : y + 24, x : x + 24] = np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.BOX))
        case "cut off":
            out = np.concatenate([image[:1].repeat(20, 0), image[:-20]])
        case "hidden":
            out = image.copy()
            out[24:, :] = np.where((np.arange(64) + rng.integers(8)) % 8 < 5, 70, out[24:].transpose(2, 0, 1)).transpose(1, 2, 0)
        case "crowded":
            out = image.astype(np.uint16)
            for x, y in 8 * rng.integers(0, 7, (7, 2)):
                glyph = OTHERS[rng.integers(len(OTHERS))]
                world.paste(out, world.sprite(glyph, 16), x, y)
        case "dark":
            out = image * 0.2 + rng.integers(0, 24, image.shape)
    return out.astype(np.uint8)


def folder(scale: str, name: str, split: str, table: pd.DataFrame, into: Path, each: int) -> Path:
    """A set in ImageNet's layout: found at paper scale, else painted into `into`/name/split.

    Args:
        table: of `classes`, or some of its rows.
        split: "train", "val" or "test"; the other sets than IN have one. ImageNet keeps the labels of its test split: at paper
            scale its val stands for it too.
        each: pictures per class to be painted, the same ones for the same arguments.

    Raises:
        FileNotFoundError, ValueError: see `check`.
    """
    if scale == "paper":
        path = DATA / "raw" / SETS[choose("set", name, SETS)] / ({"test": "val"}.get(split, split) if name == "IN" else "")
        check(path, table["class_id"] if name in ("IN", "Sketch") else ())
        return path
    for class_id, noun in zip(table["class_id"], table["noun"], strict=True):
        for i in range(each):
            write(into / name / split / class_id / f"{class_id}_{i:06d}.png", png(_painted(name, split, class_id, noun, i)))
        for surplus in sorted((into / name / split / class_id).glob("*.png"))[each:]:  # of a run with more
            surplus.unlink()
    return into / name / split


def _painted(name: str, split: str, class_id: str, noun: str, i: int) -> np.ndarray:
    """Picture i of a class of a stand-in set."""
    return picture(name, noun.split("/")[0], np.random.default_rng([i, *f"{name} {split} {class_id}".encode()]))


def inputs(scale: str, table: pd.DataFrame, each: int) -> list[np.ndarray]:
    """The first training pictures of every class of a table, `each` of every one, class by class: what a search may see."""
    if not len(table):
        return []
    if scale != "paper":
        pairs = zip(table["class_id"], table["noun"], strict=True)
        return [_painted("IN", "train", class_id, noun, i) for class_id, noun in pairs for i in range(each)]
    found = first(folder(scale, "IN", "train", table, DATA, each), table["class_id"], each)
    return [image for images in found.values() for image in images]


def first(folder: Path, classes: Iterable[str], each: int, without: Collection[Path] = ()) -> dict[str, list[np.ndarray]]:
    """Class -> its first `each` pictures in a folder of one folder per class, uint8 (height, width, 3); fewer where there are fewer.

    Args:
        without: files that are passed over, such as `clone.flagged`.

    Raises:
        FileNotFoundError: a class without pictures, and see `images.image_files`.
        ImageError: see `images.read_images`.
    """
    found = {class_id: image_files(Path(folder) / class_id, without=without)[:each] for class_id in classes}
    if empty := [class_id for class_id, files in found.items() if not files]:
        raise FileNotFoundError(f"{folder} has no images of {len(empty)} classes: {', '.join(empty[:5])}")
    return {class_id: list(read_images(files, folder)) for class_id, files in found.items()}


def evenly(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` rows of a table, evenly spread from its first to its last."""
    return table.iloc[np.linspace(0, len(table) - 1, count).astype(int)].reset_index(drop=True)


def own_classes(folder: str) -> pd.DataFrame:
    """The classes of a folder of one's own, in the form of `classes`: names of its folders; their nouns are not known, "".

    Raises:
        FileNotFoundError: no such folder, or no folders in it.
        ValueError: a folder whose name no folder of a clone can have.
    """
    path = Path(folder).expanduser()
    if not path.is_dir() or not (names := class_folders(path)):
        raise FileNotFoundError(f"INPUT = {folder!r} is no folder that holds one folder of pictures per class")
    names = [clone.named(f"class of INPUT = {folder!r}", name) for name in names]
    return pd.DataFrame({"class_id": names, "label": names, "noun": "", "ambiguous": False})


def unlike(inputs: Mapping[str, Sequence[np.ndarray]], clip: Clip) -> list[str]:
    """The classes whose pictures look unlike everything that the small world's CLIP knows; each is warned of.

    A class is judged by the mean of its pictures' `outside.strangeness`: CLIP's own similarity to its nearest sentence does not
    tell photographs from renders (results/bench/outside.md).

    Args:
        inputs: class -> pictures, uint8 (height, width, 3) each.
    """
    if not clip.renders_only:
        return []
    scores = {name: float(outside.strangeness(images).mean()) for name, images in inputs.items()}
    for name in (found := [name for name, score in scores.items() if score > outside.THRESHOLD]):
        warnings.warn(
            f"the class {name} looks unlike the small world's pictures ({scores[name]:.2f}, the limit is {outside.THRESHOLD}): what it "
            'is cloned as is a guess; use SCALE = "paper" for photographs',
            outside.OutsideWarning,
            stacklevel=2,
        )
    return found


def sets(scale: str, table: pd.DataFrame, into: Path, counts: Mapping[str, int], others: int, own: str = "") -> dict[str, Path]:
    """The real set's folder of each split; below paper scale the sets around it are painted along.

    Args:
        counts: pictures per class of each split to be painted; others: of each set around it.
        own: a folder of one's own, which is then all there is: {"train": that folder}.
    """
    if own:
        return {"train": Path(own).expanduser()}
    for name in SETS:
        if name != "IN" and scale != "paper":
            folder(scale, name, "all", table, into, others)
    return {split: folder(scale, "IN", split, table, into, counts.get(split, 0)) for split in ("train", "val", "test")}


def arrays(folder: Path, size: int, classes: Iterable[str] | None = None,
           without: Collection[Path] = ()) -> tuple[np.ndarray, np.ndarray, list[str]]:  # fmt: skip
    """A folder of images, read once; the next time it is only mapped into memory.

    Args:
        folder: one folder a class.
        size: edge in pixels; images are scaled to it (PIL, bicubic) by their shorter side and cut in the middle.
        classes: the class ids to be read; None takes all folders that hold images.
        without: files that are not read, such as `clone.flagged`.

    Returns:
        pixels, uint8 (n, size, size, 3), read-only; labels, int64 (n,), positions in the third; class ids, sorted, which
        is torchvision's ImageFolder's order.

    Raises:
        FileNotFoundError: no such folder, or no images in it, or none of one of `classes`.
        ImageError: files that are no images; all are named and counted, none is dropped silently.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    wanted = sorted(classes) if classes is not None else class_folders(folder)
    files = image_files(folder, wanted, without)
    found = [path.relative_to(folder).parts[0] for path in files]
    names = sorted(set(found))
    but = f" beside {len(without)} that are flagged" if without else ""
    if not files:
        raise FileNotFoundError(f"{folder} has no images{but} in folders named by class")
    if classes is not None and (missing := sorted(set(wanted) - set(names))):
        raise FileNotFoundError(f"{folder} has no images{but} of {len(missing)} classes: {', '.join(missing[:5])}")
    labels = np.searchsorted(names, found)
    stamps = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    path = CACHE.parent / "arrays" / f"{hashlib.sha256(repr((stamps, size)).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = path.with_suffix(".partial.npy")
        pixels = np.lib.format.open_memmap(begun, "w+", np.uint8, (len(files), size, size, 3))
        for i, image in enumerate(read_images(files, folder, partial(scaled, size=size))):
            pixels[i] = image
        pixels.flush()
        begun.rename(path)
    return np.load(path, mmap_mode="r"), labels, names


def scaled(image: np.ndarray, size: int) -> np.ndarray:
    """An image, uint8 (height, width, 3), scaled by its shorter side and cut in the middle: (size, size, 3)."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    edge = min(height, width)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box))
