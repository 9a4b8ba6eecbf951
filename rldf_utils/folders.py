"""The folder of a clone: its manifest, and one run at a time that holds it; a clone of another plan steps aside."""

import fcntl
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from rldf_utils.images import LEFT_OUT
from rldf_utils.results import write

FILLED = ["sha256", "flagged", "made"]  #: the columns of a manifest that a run fills in; no part of the plan


def read(folder: Path) -> pd.DataFrame:
    """The manifest of a clone.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: it cannot be read.
    """
    path = Path(folder) / "manifest.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"there is no clone in {folder}: manifest.parquet is missing")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read: {why} Bring it back from a copy, or rename {folder} and run again") from None


def save(manifest: pd.DataFrame, folder: Path) -> None:
    """Write the manifest of a clone, its attrs too."""
    write(folder / "manifest.parquet", manifest.to_parquet(index=False))


def key(manifest: pd.DataFrame) -> str:
    """Eight digits that name a plan: of all columns but those that are filled in."""
    rows = pd.util.hash_pandas_object(manifest.drop(columns=FILLED, errors="ignore"), index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()[:8]


@contextmanager
def own(manifest: pd.DataFrame, folder: Path, progress: str | None) -> Iterator[pd.DataFrame]:
    """Holds the folder for a plan, and gives its manifest as far as it was done; a clone of another plan steps aside."""
    place, mine = folder.resolve(), key(manifest)
    back = place.with_name(f"{place.name}-{mine}")
    while True:
        if back.is_dir() and not place.exists():
            _rename(back, place)
        place.mkdir(parents=True, exist_ok=True)
        with alone(place):
            known = _known(manifest, place, begin=not back.is_dir())
            if key(known) == mine:
                if manifest.attrs and known.attrs != manifest.attrs:
                    known.attrs = manifest.attrs
                    save(known, place)
                yield known
                return
            names = (f"{place.name}-{key(known)}{more}" for more in itertools.chain([""], map("-{}".format, itertools.count(2))))
            aside = next(path for path in map(place.with_name, names) if not path.exists())
            _rename(place, aside)
        if progress is not None:
            tqdm.write(f"{folder.name}: the clone of another plan that was here lies in {aside.name} now", sys.stderr)


def _rename(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except OSError as error:
        raise ValueError(f"{path} cannot be renamed to {to.name}: {error.strerror}; take another folder for the clone") from None


def _known(manifest: pd.DataFrame, place: Path, begin: bool) -> pd.DataFrame:
    """The manifest of a folder; if it holds none the given one, written if it is to begin there, else without its rows."""
    if not (place / "manifest.parquet").exists():
        if strangers := [p.name for p in place.iterdir() if not p.name.startswith(LEFT_OUT)]:
            raise ValueError(f"{place} has no manifest but holds {', '.join(sorted(strangers)[:3])}; take an empty folder")
        if not begin:
            return manifest[:0]
        save(manifest, place)
    return read(place)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it when the process ends, however it ends."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(folder / ".lock"))  # unless another run has just renamed it
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise BlockingIOError(f"another run is at work on {folder}; wait for it, or take another folder")
        yield
