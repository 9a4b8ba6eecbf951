"""A clone of a labelled image set (section 4, Figures 2 and 15): a manifest first, then its images, then their sha256.

One row of the manifest is one image, and holds all that is needed to make it again, byte for byte. Work is done in tasks
of a few rows; a file appears under its final name whole or not at all, so that a run which was killed resumes where it
stopped and ends with the same bytes. Exactly one run works on a folder at a time. A clone of another plan that is in the
folder steps aside, and comes back with its plan.
"""

import errno
import glob
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rldf_utils import cluster, shards, tasks
from rldf_utils.cache import TextToImage
from rldf_utils.folders import FILLED, key, own, read, save
from rldf_utils.grammar import Grammar
from rldf_utils.images import SUFFIXES
from rldf_utils.plan import sentences
from rldf_utils.progress import Bar
from rldf_utils.results import note, write

TASK, GPU_TASK = 32, 256  #: rows a task, in the folder layout, on processors and on a GPU
JOURNAL = ".done"  #: one line per task that is done: path, sha256, why flagged, made with what; goes when all are done
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


def recipe(model: TextToImage, address: str = "") -> dict[str, str]:
    """The model's recipe for a plan. Who draws says on what: on a Ray cluster with GPUs it is these, whatever this machine has."""
    settings = json.loads(model.recipe["settings"])
    if address and settings.get("device", "cuda") != "cuda" and cluster.gpus(address):
        settings["device"] = "cuda"
    return model.recipe | {"settings": json.dumps(settings)}


def plan(classes: pd.DataFrame, grammar: Grammar, counts: Mapping[str, int], recipe: Mapping[str, str], seed: int = 0,
         shard: int = 0, draw: Callable[[Grammar, str, int, np.random.Generator], np.ndarray] = sentences) -> pd.DataFrame:  # fmt: skip
    """The manifest of a clone: one row an image, sha256 still empty.

    Args:
        classes: columns class_id and noun (a word of the grammar's Noun axis), one row a class.
        grammar: with no other axis than Noun, all prompts of a class are one.
        counts: images per class of each split, such as {"train": 1508, "val": 56}.
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
    data, _ = next(tasks.pngs([row], tasks.from_recipe(*row[tasks.RECIPE])))
    tasks.compare(row, tasks.sha(data))
    return data


def reproduced(row: pd.Series, folder: Path) -> bool | None:
    """Whether the file of one row comes out again from that row alone, byte for byte.

    Returns:
        None where that cannot be seen here: it was drawn by other versions or on another kind of device, which may change the
        last bit.

    Raises:
        ValueError: it comes out with other bytes.
    """
    try:
        here = getattr(tasks.from_recipe(*row[tasks.RECIPE]), "made", "")
    except RuntimeError:  # no such device
        return None
    return None if row.get("made", "") not in ("", here) else remake(row) == (folder / row["path"]).read_bytes()


def clone(manifest: pd.DataFrame, folder: Path, address: str = "", progress: str | None = "clone") -> pd.DataFrame:
    """Make the images of a manifest that are not there yet, and write down the sha256 of all.

    Args:
        manifest: of `plan`. It is written first, to folder/manifest.parquet, its `attrs` too (see `begun`).
        folder: a clone of another plan that it holds is renamed to folder-<eight digits of its plan>, which is said; one
            of this plan that was renamed so is renamed back. Nothing that was made is removed.
        address: "" for this process; "local" or a Ray cluster's address, whose nodes share the folder.
        progress: label of a progress bar; None shows none.

    Returns:
        The manifest with its sha256; every file was read or written in this run, and one that was damaged made anew. Where
        the model has a safety checker or an image is no picture, also `flagged` (why, or "") and `made` (versions and device).

    Raises:
        ValueError: the folder holds files but no clone, or an image comes out with other bytes than before.
        BlockingIOError: another run works on the folder.
        OSError: the folder cannot be written, or the cluster's nodes do not share it; what is done stays good.
    """
    folder, done = Path(folder).expanduser().absolute(), {}
    try:
        with own(manifest, folder, progress) as known:
            _sweep_up(folder)  # after a run that was killed
            before = _recalled(known, folder)
            known["sha256"] = [before[path][0] for path in known["path"]]
            numbered, model = numbers(known), _anywhere(known["model"].iloc[0])
            gpu = json.loads(known["settings"].iloc[0]).get("device", "cpu") != "cpu"
            parts = partial(_tasks, known, GPU_TASK if gpu else TASK)
            work = ((folder, rows, numbered, model) for rows in parts())
            with (Bar(total=len(known), desc=progress, unit="image", disable=progress is None) as bar,
                  open(folder / JOURNAL, "a") as journal):  # fmt: skip
                for rows, made in zip(parts(), cluster.over(tasks.make, work, address, gpu), strict=True):
                    _seen_from_here(folder, rows["shard" if rows["shard"].iloc[0] else "path"].unique())
                    for path, (digest, why, how) in zip(rows["path"], made, strict=True):
                        done[path] = digest, why, how or before[path][2]
                    line = json.dumps([(path, *done[path]) for path in rows["path"]])
                    print(f"\n{line}", end="", file=journal, flush=True)  # whatever was torn ends here
                    bar.update(len(made))
            _sweep_up(folder)  # after workers that were lost
            columns = zip(*(done[path] for path in known["path"]), strict=True)
            whole = known.assign(**dict(zip(FILLED, columns, strict=True)))
            if not (whole["flagged"].any() or whole["made"].any()):
                whole = whole.drop(columns=FILLED[1:])
            else:
                note(f"flagged pictures, {folder.name}", int((whole["flagged"] != "").sum()))
            if not whole.equals(read(folder)):
                save(whole, folder)
            (folder / JOURNAL).unlink()
            return whole
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        what = f"{folder} cannot be written: {error.strerror}. {len(done):,} of {len(manifest):,} images were done in this run"
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


def usable(manifest: pd.DataFrame) -> pd.DataFrame:
    """The rows of a finished manifest whose images are pictures: none that a safety checker blackened, none of one colour."""
    return manifest[manifest["flagged"] == ""] if "flagged" in manifest else manifest


def flagged(folder: Path) -> set[Path]:
    """The files of a finished clone that are not `usable`: nothing is to be learnt or measured from them; none where there is no clone."""
    if not (Path(folder) / "manifest.parquet").is_file():
        return set()
    manifest = read(folder)
    return {Path(folder) / path for path in manifest["path"].drop(usable(manifest).index)}


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
            digest = there.get(path) if sharded else tasks.sha((folder / path).read_bytes()) if path in files else None
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


def _recalled(manifest: pd.DataFrame, folder: Path) -> dict[str, tuple[str, str, str]]:
    """Path -> what a run filled in, "" if none did: of the manifest, and of the journal of runs that did not end."""
    columns = [manifest[name] if name in manifest else [""] * len(manifest) for name in FILLED]
    before = dict(zip(manifest["path"], zip(*columns, strict=True), strict=True))
    lines = (folder / JOURNAL).read_text().splitlines() if (folder / JOURNAL).exists() else []
    for line in lines:
        try:
            before |= {path: tuple(rest) for path, *rest in json.loads(line) if path in before}
        except ValueError:  # torn, or empty
            continue
    return before


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


def _tasks(manifest: pd.DataFrame, size: int = TASK) -> Iterator[pd.DataFrame]:
    if manifest["shard"].iloc[0]:
        yield from (rows for _, rows in manifest.groupby("shard", sort=False))
    else:
        yield from (manifest[start : start + size] for start in range(0, len(manifest), size))


def _anywhere(model: str) -> str:
    """A model as every node of a cluster finds it: a user's folder by its absolute path."""
    path = Path(model).expanduser()
    return str(path.absolute()) if model != "null" and path.is_dir() else model
