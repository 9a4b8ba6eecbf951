"""A clone of a labelled image set (section 4, Figures 2 and 15): a manifest first, then its images, then their sha256.

One row of the manifest is one image, and holds all that is needed to make it again, byte for byte. Work is done in tasks
of a few rows; a file appears under its final name whole or not at all, so that a run which was killed resumes where it
stopped and ends with the same bytes. Exactly one run works on a folder at a time. A clone of another plan that is in the
folder steps aside, and comes back with its plan.
"""

import errno
import glob
import hashlib
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from rldf_utils import cluster, shards
from rldf_utils.folders import key, own, read, save
from rldf_utils.generate import TextToImage, from_recipe, png
from rldf_utils.grammar import Grammar
from rldf_utils.images import SUFFIXES
from rldf_utils.plan import sentences
from rldf_utils.results import write

RECIPE = ["model", "revision", "negative", "settings"]  #: the columns that `generate.from_recipe` takes
TASK = 32  #: rows a task, in the folder layout; a kill loses at most one task a worker
END = b"IEND\xaeB`\x82"  #: how a whole PNG file ends
NAME = re.compile(r"\w(?:[\w .+-]*[\w+-])?")  #: what may name a folder: no disk, shell or tar reader takes it amiss
LONGEST = 80  #: bytes of such a name; a tar file has room for 100 with the image's number
TORN = re.compile(r"\..+\.(png|tar|parquet)\.\w+")  #: what `results.write` had not finished
KINDS = SUFFIXES | {".tar"}  #: what is `extra` if no row names it


def named(what: str, name: str) -> str:
    """The name of a class or split itself, or a ValueError if no folder of a clone can have it."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name.encode()) > LONGEST:
        rule = f"use text of 1 to {LONGEST} bytes: letters, digits, '_', '-', '+', and inside '.' or ' '"
        raise ValueError(f"the {what} {name!r} cannot name a folder: {rule}")
    return name


def plan(classes: pd.DataFrame, grammar: Grammar, counts: Mapping[str, int], recipe: Mapping[str, str], seed: int = 0,
         shard: int = 0, draw: Callable[[Grammar, str, int, np.random.Generator], np.ndarray] = sentences) -> pd.DataFrame:  # fmt: skip
    """The manifest of a clone: one row an image, sha256 still empty.

    Args:
        classes: columns class_id and noun (a word of the grammar's Noun axis), one row a class.
        grammar: with no other axis than Noun, all prompts of a class are one.
        counts: images a class of each split, such as {"train": 1508, "val": 56}.
        recipe: of the model, see `generate.Diffusers`.
        seed: chooses encodings and image seeds; those of a class and split depend on nothing else.
        shard: 0 for ImageNet's folder layout; else rows per tar file, over which the classes are shuffled.
        draw: the encodings of a class and split, (n, axes), from grammar, noun, n and a generator; see `plan.sentences`,
            which balances all axes.

    Raises:
        ValueError: a class twice, a class id or split that cannot name a folder, or a noun that the grammar lacks.
    """
    for what, names in (("class id", classes["class_id"]), ("split", pd.Series(list(counts)))):
        for name in names:
            named(what, name)
            if shard and "." in name:
                raise ValueError(f"the {what} {name!r} has a dot, where WebDataset's readers end a name; rename it, or take shard=0")
        if (twice := names[names.str.casefold().duplicated()]).any():
            raise ValueError(f"a {what} twice (small and capital letters are one to some disks): {', '.join(sorted(twice))}")
    if unknown := set(classes["noun"]) - set(grammar.axes["Noun"]):
        raise ValueError(f"the grammar has no noun {', '.join(map(repr, sorted(unknown)))}")
    parts = []
    for split, n in counts.items():
        for class_id, noun in zip(classes["class_id"], classes["noun"], strict=True):
            stream = np.random.SeedSequence([seed, *f"{split} {class_id}".encode()])
            codes = draw(grammar, noun, n, np.random.default_rng(stream.spawn(1)[0]))
            parts.append(
                pd.DataFrame(
                    {
                        "path": [f"{split}/{class_id}/{class_id}_{i:06d}.png" for i in range(n)],
                        "split": split,
                        "class_id": class_id,
                        "noun": noun,
                        "prompt": [grammar.surface(tuple(code)) for code in codes.tolist()],
                        "encoding": written(codes),
                        "seed": stream.generate_state(n).astype(np.int64),
                    }
                )
            )
    rows = pd.concat(parts, ignore_index=True).assign(**recipe, shard="", sha256="")
    if shard:
        rows = rows.sample(frac=1, random_state=seed).sort_values("split", kind="stable", ignore_index=True)
        number = rows.groupby("split").cumcount() // shard
        rows["shard"] = rows["split"] + "-" + number.astype(str).str.zfill(6) + ".tar"
    return rows


def remake(row: pd.Series) -> bytes:
    """The PNG file of one row of a manifest, made again from that row alone.

    Raises:
        ValueError: the row has a sha256 and the new file has another: other package versions, or another kind of machine.
    """
    data = next(_pngs([row], from_recipe(*row[RECIPE])))
    _compare(row, _digest(data))
    return data


def clone(manifest: pd.DataFrame, folder: Path, address: str = "", progress: str | None = "clone") -> pd.DataFrame:
    """Make the images of a manifest that are not there yet, and write down the sha256 of all.

    Args:
        manifest: of `plan`. It is written first, to folder/manifest.parquet, its `attrs` too (see `begun`).
        folder: a clone of another plan that it holds is renamed to folder-<eight digits of its plan>, which is said; one
            of this plan that was renamed so is renamed back. Nothing that was made is removed.
        address: "" for this process; "local" or a Ray cluster's address, whose nodes share the folder.
        progress: label of a progress bar; None shows none.

    Returns:
        The manifest with its sha256; every file was read or written in this run, and one that was damaged made anew.

    Raises:
        ValueError: the folder holds files but no clone, or an image comes out with other bytes than before.
        BlockingIOError: another run works on the folder.
        OSError: the folder cannot be written, or the cluster's nodes do not share it; what is done stays good.
    """
    folder, digests = Path(folder).expanduser().absolute(), {}
    try:
        with own(manifest, folder, progress) as known:
            _sweep_up(folder)  # after a run that was killed
            numbered, model = numbers(known), _anywhere(known["model"].iloc[0])
            tasks = ((folder, rows, numbered, model) for rows in _tasks(known))
            often = 1 if sys.stderr.isatty() else 30  # a notebook or a log keeps every line
            with tqdm(total=len(known), desc=progress, unit="image", mininterval=often, disable=progress is None) as bar:
                gpu = '"device": "cuda"' in known["settings"].iloc[0]
                for rows, made in zip(_tasks(known), cluster.over(_make, tasks, address, gpu), strict=True):
                    _seen_from_here(folder, rows["shard" if rows["shard"].iloc[0] else "path"].unique())
                    digests.update(zip(rows["path"], made, strict=True))
                    bar.update(len(made))
            _sweep_up(folder)  # after workers that were lost
            finished = known.assign(sha256=known["path"].map(digests))
            if not finished.equals(known):
                save(finished, folder)
            return finished
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        what = f"{folder} cannot be written: {error.strerror}. {len(digests):,} of {len(manifest):,} images were done in this run"
        raise OSError(error.errno, f"{what}, and what is done stays good: mend it and run again to go on") from error


def begun(folder: Path, settings: Mapping) -> pd.DataFrame | None:
    """The manifest of a clone that was begun with these settings, in the folder or set aside from it; else None.

    Args:
        settings: what the plan follows from, as JSON has it; the manifest's `attrs` hold it under "settings".
    """
    folder = Path(folder).expanduser().resolve()
    for path in (folder, *sorted(folder.parent.glob(f"{glob.escape(folder.name)}-*"))):
        if (path / "manifest.parquet").is_file() and (known := read(path)).attrs.get("settings") == settings:
            return known
    return None


def set_aside(folder: Path) -> None:
    """Rename a clone, if there is one, as `clone` renames one of another plan: who reads the folder next is not to find it."""
    place = Path(folder).expanduser().resolve()
    if (place / "manifest.parquet").is_file():
        names = itertools.chain([""], map("-{}".format, itertools.count(2)))
        aside = (place.with_name(f"{place.name}-{key(read(place))}{more}") for more in names)
        place.rename(next(path for path in aside if not path.exists()))


def numbers(manifest: pd.DataFrame) -> dict[str, int]:
    """Class id -> label: its place among the sorted ids, as in torchvision's ImageFolder."""
    return {class_id: number for number, class_id in enumerate(sorted(manifest["class_id"].unique()))}


def record(manifest: pd.DataFrame, path: Path) -> Path:
    """Keep the manifest of a finished clone elsewhere, without its `attrs`, for `whole`."""
    plain = manifest.copy()
    plain.attrs.clear()
    return write(path, plain.to_parquet(index=False, compression="zstd"))


def whole(folder: Path, record: Path) -> pd.DataFrame:
    """The manifest of a clone that was finished, and is the one on record.

    Args:
        record: the manifest that the run kept elsewhere when it had made and verified all.

    Raises:
        FileNotFoundError: there is no clone.
        ValueError: the clone is not finished, or is another one that was begun since.
    """
    manifest = read(folder)
    if not manifest.equals(pd.read_parquet(record)):
        raise ValueError(f"the clone in {folder} is not the one of {Path(record).name}: its run was not finished; run it again first")
    return manifest


def verify(folder: Path) -> dict[str, list[str]]:
    """Read a whole clone again: the paths that are `missing`, `damaged` (another sha256) or `extra` (images or tar files in no row)."""
    folder, manifest = Path(folder), read(folder)
    found: dict[str, list[str]] = {"missing": [], "damaged": [], "extra": []}
    files = {p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in KINDS and p.is_file()}
    files = {p.as_posix() for p in files if not any(part.startswith(".") for part in p.parts)}
    sharded, numbered = bool(manifest["shard"].iloc[0]), numbers(manifest)
    found["extra"] = sorted(files - set(manifest["shard" if sharded else "path"]))
    for rows in _tasks(manifest):
        there = shards.found(folder / rows["shard"].iloc[0], rows.to_dict("records"), numbered) if sharded else {}
        for path, wanted in zip(rows["path"], rows["sha256"], strict=True):
            digest = there.get(path) if sharded else _digest((folder / path).read_bytes()) if path in files else None
            if digest != wanted:
                found["missing" if digest is None else "damaged"].append(path)
    return found


def planned(manifest: pd.DataFrame, grammar: Grammar) -> pd.DataFrame:
    """The words that every image's sentence says: one column per axis."""
    codes = encodings(manifest)
    return pd.DataFrame({axis: np.array(words, object)[codes[:, k]] for k, (axis, words) in enumerate(grammar.axes.items())})


def encodings(manifest: pd.DataFrame) -> np.ndarray:
    """The encoding of every image, int (images, axes)."""
    return manifest["encoding"].str.split("-", expand=True).astype(int).to_numpy()


def written(codes: np.ndarray) -> list[str]:
    """`encodings` as a manifest holds them."""
    return ["-".join(map(str, code)) for code in codes.tolist()]


def _sweep_up(folder: Path) -> None:
    """Remove what somebody was writing when he was killed."""
    for left in folder.rglob(".*"):
        if TORN.fullmatch(left.name):
            left.unlink(missing_ok=True)


def _seen_from_here(folder: Path, paths: Sequence[str], patience: float = 5) -> None:
    """Refuse work of a cluster's nodes whose disk is not this one; a shared disk may take a moment to show a file."""
    until = time.monotonic() + patience
    while missing := [path for path in paths if not os.path.exists(folder / path)]:
        if time.monotonic() > until:
            raise OSError(
                f"{missing[0]} was made on a node of the cluster, but is not in {folder} here: "
                "the nodes must share this folder, under this very path"
            )
        time.sleep(0.1)


def _tasks(manifest: pd.DataFrame) -> Iterator[pd.DataFrame]:
    if manifest["shard"].iloc[0]:
        yield from (rows for _, rows in manifest.groupby("shard", sort=False))
    else:
        yield from (manifest[start : start + TASK] for start in range(0, len(manifest), TASK))


def _anywhere(model: str) -> str:
    """A model as every node of a cluster finds it: a user's folder by its absolute path."""
    path = Path(model).expanduser()
    return str(path.absolute()) if model != "null" and path.is_dir() else model


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pngs(rows: Sequence[Mapping], model: TextToImage) -> Iterator[bytes]:
    for start in range(0, len(rows), model.batch):
        part = rows[start : start + model.batch]
        for row, pixels in zip(part, model([r["prompt"] for r in part], [r["seed"] for r in part]), strict=True):
            yield png(pixels, prompt=row["prompt"])


def _make(task: tuple[Path, pd.DataFrame, Mapping[str, int], str]) -> list[str]:
    """Make what is missing of some rows (a whole tar file, or single images) and return the sha256 of each."""
    folder, frame, numbered, model = task
    rows = frame.to_dict("records")
    recipe = model, *(rows[0][column] for column in RECIPE[1:])
    digests = _shard(folder, rows, recipe, numbered) if rows[0]["shard"] else _files(folder, rows, recipe)
    for row, digest in zip(rows, digests, strict=True):
        _compare(row, digest)
    return digests


def _compare(row: Mapping, digest: str) -> None:
    if row["sha256"] not in ("", digest):
        raise ValueError(f"{row['path']} came out with other bytes than its manifest says: other versions, or another kind of machine")


def _files(folder: Path, rows: list[dict], recipe: Sequence[str]) -> list[str]:
    digests = {}
    for row in rows:
        path = folder / row["path"]
        data = path.read_bytes() if path.exists() else b""
        if data.endswith(END) and row["sha256"] in ("", _digest(data)):
            digests[row["path"]] = _digest(data)
    missing = [row for row in rows if row["path"] not in digests]
    for row, data in zip(missing, _pngs(missing, from_recipe(*recipe)), strict=True):
        write(folder / row["path"], data)
        digests[row["path"]] = _digest(data)
    return [digests[row["path"]] for row in rows]


def _shard(folder: Path, rows: list[dict], recipe: Sequence[str], numbered: Mapping[str, int]) -> list[str]:
    path = folder / rows[0]["shard"]
    there = shards.found(path, rows, numbered)
    if list(there) == [row["path"] for row in rows] and all(
        digest and row["sha256"] in ("", digest) for row, digest in zip(rows, there.values(), strict=True)
    ):
        return list(there.values())
    data, digests = shards.pack(rows, _pngs(rows, from_recipe(*recipe)), numbered)
    write(path, data)
    return digests
