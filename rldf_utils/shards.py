"""Tar files in WebDataset's convention: of each image its .png, its .cls (an integer) and its .json (its manifest's row).

A key, the name up to its first dot, joins the three; `webdataset` and Hugging Face `datasets` read them so.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rldf_utils.folders import FILLED


def pack(rows: Sequence[Mapping], images: Iterable[bytes], numbers: Mapping[str, int]) -> tuple[bytes, list[str]]:
    """A tar file of some rows of a manifest, the same bytes for the same arguments, and the sha256 of each image.

    Args:
        images: the PNG file of each row.
        numbers: class id -> number, see `clone.numbers`.
    """
    buffer, digests = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, image in zip(rows, images, strict=True):
            digests.append(hashlib.sha256(image).hexdigest())
            for name, content in {row["path"]: image, **_beside(row, numbers)}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue(), digests


def found(path: Path, rows: Sequence[Mapping], numbers: Mapping[str, int]) -> dict[str, str]:
    """path -> sha256 of every image of a tar file, in the file's order, up to where it can be read.

    An image has "" where its class or its row is missing or damaged. A file without its end holds none.
    """
    digests, beside = {}, {name: text for row in rows for name, text in _beside(row, numbers).items()}
    try:
        if path.stat().st_size % tarfile.RECORDSIZE:
            return {}
        with tarfile.open(path) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                content = tar.extractfile(member).read()
                if member.name.endswith(".png"):
                    digests[member.name] = hashlib.sha256(content).hexdigest()
                elif beside.get(member.name) == content:
                    del beside[member.name]
    except (FileNotFoundError, tarfile.TarError):
        pass
    return digests | {image: "" for name in beside if (image := name.rpartition(".")[0] + ".png") in digests}


def _beside(row: Mapping, numbers: Mapping[str, int]) -> dict[str, bytes]:
    key, meta = row["path"].removesuffix(".png"), {column: value for column, value in row.items() if column not in FILLED}
    return {f"{key}.cls": str(numbers[row["class_id"]]).encode(), f"{key}.json": json.dumps(meta).encode()}
