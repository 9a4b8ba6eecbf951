"""Which files of a folder are images."""

import warnings
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}  #: of the formats that `perceive.read_image` reads


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without those that systems and archives leave."""
    return sorted(p.name for p in Path(folder).iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def image_files(folder: Path, classes: Iterable[str] | None = None) -> list[Path]:
    """The image files below a folder, class by class, each class's sorted.

    What else lies there, such as a README.txt or Thumbs.db, is named in one warning; names that begin with a dot, and
    __MACOSX, are left out silently. A file with an image's suffix counts, whatever it holds.

    Args:
        classes: the subfolders to look at, in this order; None looks at the whole folder.

    Raises:
        FileNotFoundError: no such folder, or subfolder.
    """
    found, others = [], []
    for root in [Path(folder) / name for name in classes] if classes is not None else [Path(folder)]:
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder {root}")
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root).parts
            if not path.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in inside):
                (found if path.suffix.lower() in SUFFIXES else others).append(path)
    if others:
        named = ", ".join(path.relative_to(folder).as_posix() for path in others[:5]) + ", ..." * (len(others) > 5)
        warnings.warn(f"{folder} holds {len(others):,} files that are not taken for images: {named}", stacklevel=2)
    return found
