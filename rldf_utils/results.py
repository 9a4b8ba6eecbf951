"""Paths, atomic writes, and provenance: where results lie and what made them."""

import hashlib
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODELS = DATA / "models"
RESULTS = Path(os.environ.get("RLDF_RESULTS", ROOT / "results"))
CACHE = Path(os.environ.get("RLDF_CACHE", ROOT / ".cache" / "images"))
SCALES = ("smoke", "tiny", "paper")
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "gymnasium", "numpy", "matplotlib", "papermill")


def choose(name: str, value, legal):
    """The value itself if it is legal, else a ValueError that lists the legal ones."""
    if value not in legal:
        raise ValueError(f"{name} = {value!r} is not known; choose one of {', '.join(map(repr, legal))}")
    return value


def folder(scale: str, notebook: str) -> Path:
    """results/<scale>/<notebook>/, made if missing."""
    path = RESULTS / choose("SCALE", scale, SCALES) / notebook
    path.mkdir(parents=True, exist_ok=True)
    return path


def upstream(scale: str, notebook: str, name: str) -> Path:
    """A file that another notebook wrote.

    Raises:
        FileNotFoundError: it is not there; the message names the notebook to run first.
    """
    path = RESULTS / scale / notebook / name
    if not path.exists():
        raise FileNotFoundError(
            f"{name} of {notebook} is missing at SCALE={scale}. Run first: make {RESULTS.name}/{scale}/{notebook}/executed.ipynb"
        )
    return path


def write(path: Path, content: str | bytes) -> Path:
    """Write a file so that it is seen whole or not at all, also by other processes and after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    return path


@lru_cache
def fingerprint(folder: Path) -> str:
    """sha256 over the names and contents of a model folder's configuration, vocabulary and weights."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".json", ".txt", ".safetensors"}):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def located(model: str | Path, revision: str | None = None) -> tuple[Path | str, str]:
    """Where `from_pretrained` finds a model, and what identifies its weights.

    Args:
        model: folder, name of a folder under data/models, or hub id.
        revision: commit of the hub id; required for one.

    Returns:
        (folder, its fingerprint) or (hub id, "id@revision").

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a hub id without a revision.
    """
    folder = Path(model) if Path(model).is_dir() else MODELS / str(model)
    if folder.is_dir():
        return folder, fingerprint(folder)
    if "/" not in str(model) or str(model).startswith((".", "/")):
        names = ", ".join(sorted(p.name for p in MODELS.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"there is no model folder {model}; data/models has {names}")
    if revision is None:
        raise ValueError(f"{model} is a hub id: name a revision (a commit), or nobody can make its results again")
    return str(model), f"{model}@{revision}"


def provenance() -> dict:
    """Versions, machine, commit and time of the run that writes a result."""
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "commit": git.stdout.strip() or None,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: version(package) for package in PACKAGES},
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save_metrics(path: Path, metrics: dict, *, scale: str, seed: int, started: float, models: dict[str, str] | None = None) -> dict:
    """Write metrics.json: the numbers, and the provenance that makes them worth something.

    Args:
        path: the notebook's result folder.
        started: `time.monotonic()` at the notebook's start; the difference is stored in seconds.
        models: name -> fingerprint of every model used.
    """
    record = {"scale": scale, "seed": seed, "seconds": round(time.monotonic() - started, 1), "models": models or {}}
    record |= {"metrics": metrics, "provenance": provenance()}
    write(path / "metrics.json", json.dumps(record, indent=1, default=float, allow_nan=False) + "\n")
    return record
