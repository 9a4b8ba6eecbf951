"""Where a model's files are and what identifies them: a folder, or a commit of the hub's; and what to do where they are missing.

`python -m rldf_utils.models FOLDER NEW` writes a Stable Diffusion whose weights are pickles (.bin) as safetensors.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rldf_utils.results import MODELS, fingerprint, setting

UNUSED = ["*.fp16.*", "*.non_ema.*", "*.fp16-*", "*.non_ema-*"]  #: of the hub's weights


def local(name: str | Path) -> Path | None:
    """A folder of the user's, or one under data/models; None if there is none."""
    return next((path for path in (Path(name).expanduser(), MODELS / str(name)) if path.is_dir()), None)


def split(model: str | Path) -> tuple[str, str | None]:
    """A model's name and revision: a folder that is there is taken whole, "@" or not; else what follows the last "@" is the revision."""
    name = str(model)
    if "@" not in name or local(name):
        return name, None
    name, _, revision = name.rpartition("@")
    return name, revision


def located(model: str | Path, revision: str | None = None, ask: str = "MODEL") -> tuple[Path, str]:
    """The folder that `from_pretrained` is to load, and what identifies the files that it loads: their content.

    Args:
        model: folder, name of a folder under data/models, or hub id, with "@" and its revision or without.
        revision: commit of the hub id; required for one.
        ask: the parameter or setting by which a user may name a folder instead; for messages.

    Raises:
        FileNotFoundError: no such folder, or the hub's files are neither here nor in reach.
        ValueError: a hub id without a revision.
    """
    name, after = split(model)
    revision = revision or after
    if not (folder := local(name)):
        if "/" not in name or name.startswith((".", "/", "~")):
            names = ", ".join(sorted(p.name for p in MODELS.iterdir() if p.is_dir()))
            raise FileNotFoundError(f"there is no model folder {name}; data/models has {names}")
        if not revision:
            raise ValueError(f"{name} is a hub id: name a revision (a commit), or nobody can make its results again")
        folder = fetched(name, revision, ask)
    return folder, fingerprint(folder)


def fetched(name: str, revision: str, ask: str = "MODEL") -> Path:
    """The folder of a commit in the hub's cache on this machine; what is missing of it is downloaded: safetensors only.

    Raises:
        FileNotFoundError: it is not here and the hub is out of reach; the message says what to fetch and where to put it.
    """
    from huggingface_hub import snapshot_download

    if (here := kept(name, revision)) is not None:
        return here
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.txt"]))
        kinds = {"model_index.json": "*/*.safetensors", "open_clip_config.json": "open_clip*.safetensors"}  # beside it timm's halves
        weights = next((files for name, files in kinds.items() if (folder / name).is_file()), "*.safetensors")
        snapshot_download(name, revision=revision, allow_patterns=weights, ignore_patterns=UNUSED)
        if missing(folder):  # a repository may have nothing but the halves
            snapshot_download(name, revision=revision, allow_patterns=weights)
        return folder
    except Exception as error:  # of httpx, of the hub's own, of the disk
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        said = f"{name} at {revision[:12]} is not on this machine, and the hub does not give it ({why})"
        raise FileNotFoundError(f"{said}. {recipe(name, revision, ask)}") from None


def kept(name: str, revision: str) -> Path | None:
    """The folder of a commit in the hub's cache, if it is there whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if set(missing(folder)) - {spared()} else folder


def spared() -> str:
    """The part of a model that is not loaded: its safety checker, by RLDF_CHECKER=no; else ""."""
    return "safety_checker" if setting("CHECKER") == "no" else ""


def recipe(name: str, revision: str, ask: str) -> str:
    """How to bring a model of the hub to a machine that does not reach it."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    part = f"hub/models--{name.replace('/', '--')}"
    return (f"Where it can be reached: hf download {name} --revision {revision} --include '*.json' '*.txt' '*.safetensors'; then copy "
            f"~/.cache/huggingface/{part} of that machine to {home}/{part} here, links and all (rsync -a), and set HF_HUB_OFFLINE=1. "
            f"Or give its files as a folder: RLDF_{ask}=FOLDER{'; RLDF_DETECTOR=none does without' * (ask == 'DETECTOR')}")  # fmt: skip


def parts(folder: Path) -> dict[str, Path]:
    """The folders with weights that a pipeline has, by name; of a single model the folder itself."""
    if not (folder / "model_index.json").is_file():
        return {"": folder}
    index = json.loads((folder / "model_index.json").read_text())
    named = {name: folder / name for name, kind in index.items() if isinstance(kind, list) and kind[0]}
    return {name: place for name, place in named.items() if (place / "config.json").is_file() or name in ("unet", "vae", "text_encoder")}


def missing(folder: Path) -> list[str]:
    """The parts of a model whose safetensors are not there, or not all that their index names."""
    lacking = []
    for name, place in parts(folder).items():
        wanted = {file for path in place.glob("*.safetensors.index.json") for file in json.loads(path.read_text())["weight_map"].values()}
        if not any(place.glob("*.safetensors")) or not all((place / file).is_file() for file in wanted):
            lacking.append(name or folder.name)
    return lacking


def variant(folder: Path, without: str = "") -> str | None:
    """Which weights to load, as `from_pretrained` wants it: "fp16" where a part has nothing else, else None.

    Args:
        without: a part that is not loaded.

    Raises:
        FileNotFoundError: a part has no safetensors; the message says how to make them of pickles.
    """
    if lacking := [name for name in missing(folder) if name != without]:
        pickles = [name for name in lacking if any(parts(folder).get(name, folder).glob("*.bin"))]
        mend = (f"as pickles (.bin), which can run code when they are loaded: python -m rldf_utils.models {folder} NEW writes them as "
                "safetensors, if you trust who made them" if pickles else "at all: fetch its .safetensors")  # fmt: skip
        spare = "; or RLDF_CHECKER=no does without" if lacking == ["safety_checker"] else ""
        raise FileNotFoundError(f"{folder} has the weights of {', '.join(lacking)} {'only ' if pickles else 'not '}{mend}{spare}")
    stems = [[p.name.partition(".")[2] for p in place.glob("*.safetensors")] for name, place in parts(folder).items() if name != without]
    return "fp16" if any("safetensors" not in ends for ends in stems) else None


def content(network: torch.nn.Module) -> str:
    """sha256 over the names and values of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def convert(folder: Path, new: Path) -> None:
    """Copy a model's folder, its pickles (.bin) as safetensors. All else stays: `save_pretrained` would write the scheduler's
    defaults into its configuration, and another scheduler that reads them would draw other pictures."""
    shutil.copytree(folder, new, ignore=shutil.ignore_patterns("*.bin", "*.ckpt"))
    for name, place in parts(folder).items():
        for path in sorted(place.glob("*model.bin")):
            weights = torch.load(path, map_location="cpu", weights_only=True)
            stem = "model" if path.stem == "pytorch_model" else path.stem
            whole = {key: value.clone().contiguous() for key, value in weights.items()}
            save_file(whole, new / name / f"{stem}.safetensors", {"format": "pt"})


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:]))
