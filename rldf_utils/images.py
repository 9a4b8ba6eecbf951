"""Which files of a folder are images, and reading all of them."""

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from rldf_utils.perceive import ImageError, read_image

#: of the formats that `read_image` reads, in any case
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FEW = 500  #: files that one process reads as quickly as several, which have to start first
LEFT_OUT = (".", "__MACOSX", "Thumbs.db", "desktop.ini")  #: how the names begin of what systems and archives leave


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without those that systems and archives leave."""
    return sorted(p.name for p in Path(folder).iterdir() if p.is_dir() and not p.name.startswith(LEFT_OUT))


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links too, each folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [name for name in folders if not name.startswith(LEFT_OUT)] if real not in seen else []
        if real not in seen:
            seen.add(real)
            yield from (Path(place, name) for name in files if not name.startswith(LEFT_OUT))


def image_files(folder: Path, classes: Iterable[str] | None = None, without: Collection[Path] = ()) -> list[Path]:
    """The image files below a folder, class by class, each class's sorted; links are followed.

    What else lies there, such as a README.txt, is named in one warning; what begins as `LEFT_OUT` says is left out
    silently. A file with an image's suffix counts, whatever it holds.

    Args:
        classes: the subfolders to look at, in this order; None looks at the whole folder.
        without: files that are left out, such as `clone.flagged`.

    Raises:
        FileNotFoundError: no such folder, or subfolder; images that are links to nothing.
    """
    folder, found, others = Path(folder), [], []
    for root in [folder / name for name in classes] if classes is not None else [folder]:
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        for path in sorted(_files(root)):
            (found if path.suffix.lower() in SUFFIXES else others).append(path)

    def named(paths: list[Path]) -> str:
        return ", ".join(path.relative_to(folder).as_posix() for path in paths[:5]) + ", ..." * (len(paths) > 5)

    if lost := [path for path in found if not path.exists()]:
        raise FileNotFoundError(f"{len(lost):,} of {len(found):,} images of {folder} are links to nothing: {named(lost)}")
    if others:
        warnings.warn(f"{folder.name} holds {len(others):,} files that are not taken for images: {named(others)}", stacklevel=2)
    return [path for path in found if path not in without]


def read_images(paths: Sequence[Path], folder: Path, prepare: Callable[[np.ndarray], Any] | None = None) -> Iterator:
    """`read_image` of every path of a folder, in order; of more than `FEW` on up to 16 cores, a process each.

    Args:
        prepare: what becomes of an image where it is read, such as scaling; a function that can be pickled.

    Raises:
        ImageError: at the end, if there were files that are no images; all are counted and the first five named.
    """
    workers = 0
    if len(paths) > FEW:
        workers = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    broken, read = [], partial(_prepared, prepare=prepare)
    for part in DataLoader(list(paths), 32, num_workers=workers, collate_fn=read, generator=torch.Generator()):
        for image in part:
            if isinstance(image, ImageError):
                broken.append(str(image))
            else:
                yield image
    if broken:
        raise ImageError(f"{len(broken)} of {len(paths)} files of {folder} cannot be read: {'; '.join(broken[:5])}")


def _prepared(paths: Sequence[Path], prepare: Callable | None) -> list:
    found = []
    for path in paths:
        try:
            image = read_image(path)
            found.append(prepare(image) if prepare else image)
        except ImageError as error:
            found.append(error)
    return found
