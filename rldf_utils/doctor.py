"""What a scale needs and what this machine has, in seconds and without a download: `make doctor SCALE=paper`.

Prints what would stop a notebook and what it would cost; exit status 1 if something would stop one. With a price per GPU-hour
(`--price 2.5`, in your currency) it prints the bill too.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from rldf_utils import clone, detect, generate, inputs, models, perceive, plan, results
from rldf_utils.images import SUFFIXES

GB = 10**9
PICTURE = 550_000  #: bytes of a 512 px PNG of natural statistics (measured: 460,000 to 690,000)
PACE = 0.55  #: pictures a second of the paper's A100 (section 4), where no batch can be timed
#: per notebook at paper scale: pictures beside a clone's, further hours on a GPU, GB of memory, GB of disk beside pictures;
#: derived from counts and FLOPs, but for the memory of those that were run on stand-ins
NEEDS = {
    "01_grammar_encoding": (288, 0.1, 6, 0), "02_environment_design": (960, 0.1, 6, 0), "03_agent_training_sweeps": (0, 0.5, 4, 0),
    "04_image_search": (552, 0.1, 6, 0), "05_noisy_diffusion_gradient": (960, 0.2, 6, 0), "06_imagenet100_cloning": (100, 1, 8, 0),
    "07_resnet18_classification": (49_920, 47 * 2, 16, 106), "08_fid_kid_imagenet_variants": (0, 3, 16, 4), "09_control": (3600, 0.1, 8, 0),
    "A2_agent_claims": (3034, 0.2, 8, 0), "A3_search_at_equal_cost": (4000, 0.2, 8, 0), "A4_captions_and_encodings": (60, 0.2, 10, 0),
    "A5_ablation_and_memorisation": (108, 0.1, 8, 0), "10_claims_ledger": (0, 0, 4, 0),
}  # fmt: skip
#: notebook -> GB of GPU memory that it wants, derived, and what does with less
VIDEO = {"6": (13, "RLDF_BATCH=2, RLDF_CHECKER=no"), "A4": (24, "a smaller BLIP-2 by RLDF_CAPTIONER"),
         "7": (40, "a smaller batch in classify.RECIPES, which is another recipe")}  # fmt: skip
FOLDERS = {"imagenet100/train": 100, "imagenet100/val": 100, "imagenet-sketch": 1000}  #: class folders of each set
FOLDERS |= {"imagenet-r": 200, "imagenet-a": 200, "imagenet-o": 200}
#: of the models of paper scale: what the files weigh, and what a user must accept
SIZES = {"MODEL": 5.5, "VAE": 0.3, "CLIP": 1.7, "CAPTIONER": 15.0, "DETECTOR": 0.6, "INCEPTION": 0.1}
LICENCES = {
    "MODEL": "CreativeML OpenRAIL-M, with restrictions on use", "VAE": "MIT", "CLIP": "MIT", "CAPTIONER": "MIT", "DETECTOR": "Apache-2.0",
    "INCEPTION": "Apache-2.0",
    "data/raw": "ImageNet's terms: research only, asked for at image-net.org",
}  # fmt: skip


class Report:
    """Lines of findings; `bad` counts those that would stop a notebook."""

    def __init__(self):
        self.bad = 0

    def say(self, ok: bool | None, text: str) -> None:
        """ok: True, None for a remark, False for what would stop a notebook."""
        self.bad += ok is not None and not ok
        print(f"  {'ok  ' if ok else '    ' if ok is None else 'STOP'} {text}", flush=True)

    def ask(self, text: str, question: Callable) -> object:
        """The answer to a question that raises what would stop a notebook."""
        try:
            answer = question()
        except Exception as error:  # whatever a user's folder makes of it
            self.say(False, f"{text}: {error}")
            return None
        self.say(True, f"{text}: {answer}")
        return answer


def memory() -> float:
    """GB of this machine's memory; where a group of processes has a limit, of that."""
    have = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if path.is_file() and path.read_text().strip().isdigit():
            have.append(int(path.read_text()))
    return min(have) / GB


def machine(report: Report, scale: str) -> None:
    """Device, driver, memory."""
    import torch

    print("Machine")
    report.ask("device", lambda: results.device(scale))
    count = torch.cuda.device_count()
    if count > 1:
        report.say(None, f"{count} GPUs seen; notebook 6 uses them all with RAY_ADDRESS = 'local', the others one")
    if count:
        free = torch.cuda.mem_get_info()[0] / GB
        for notebook, (want, instead) in VIDEO.items():
            if free < want:
                report.say(None, f"{free:.0f} GB of GPU memory are free; notebook {notebook} wants {want}: {instead}")
    need = max(ram for _, _, ram, _ in NEEDS.values()) if scale == "paper" else 3
    report.say(memory() >= need * 0.9, f"memory: {memory():.0f} GB; the notebooks want up to {need}")


def weights(report: Report, scale: str) -> None:
    """Each model: the folder that is taken, or what must be fetched."""
    print("Models")
    if scale != "paper":
        for folder in sorted(results.MODELS.iterdir()):
            report.say((folder / "README.md").is_file(), f"{folder.name}: {results.fingerprint(folder)}")
        return
    named = {"MODEL": generate.SD_14, "VAE": generate.FT_MSE, "CLIP": perceive.VIT_L_14, "CAPTIONER": perceive.BLIP_2}
    named |= {"DETECTOR": detect.OWL_V2}
    for ask, default in named.items():
        name = results.setting(ask, default)
        if name in ("null", "own", "none"):
            report.say(True, f"{ask}: {name}")
            continue
        name, revision = models.split(name)
        if folder := models.local(name):
            report.ask(f"{ask}: {folder}", lambda folder=folder: models.variant(folder, models.spared()) or "safetensors")
        elif not revision:
            report.say(False, f"{ask}: {name} needs a revision, as {name}@COMMIT")
        elif folder := models.kept(name, revision):
            report.say(True, f"{ask}: {name} at {revision[:12]}, in the hub's cache")
        else:
            fetched(report, ask, name, revision)
    inception = Path(results.setting("INCEPTION") or results.CACHE.parent / "inception-2015-12-05.pt")
    there = "is here" if inception.is_file() else f"is not here yet; notebook 8 fetches it ({SIZES['INCEPTION']} GB), or put it there"
    report.say(inception.is_file() or None, f"INCEPTION: {inception} {there}")
    for what, licence in LICENCES.items():
        report.say(None, f"licence of {what}: {licence}")


def fetched(report: Report, ask: str, name: str, revision: str) -> None:
    """Say whether a model that is not here can be fetched. Its files are not."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(name, revision=revision, timeout=5, files_metadata=True)
    except Exception as error:  # of httpx, or of the hub's own
        why = (str(error).splitlines() or [type(error).__name__])[0]
        report.say(False, f"{ask}: {name} is neither here nor in reach ({why}). {models.recipe(name, revision, ask)}")
        return
    size = sum(f.size or 0 for f in info.siblings if f.rfilename.endswith(".safetensors") and ".fp16." not in f.rfilename) / GB
    gate = f"; accept its licence first, at https://huggingface.co/{name}" if info.gated else ""
    report.say(None if not gate else False, f"{ask}: {name} is not here yet; {size or SIZES[ask]:.1f} GB will be fetched{gate}")


def data(report: Report, scale: str) -> None:
    """The sets below data/raw, by the names of their folders; nothing is decoded."""
    if scale != "paper":
        return
    print("Data")
    report.ask("photographs to search", lambda: ", ".join(inputs.inputs(scale)))
    hundred = set(pd.read_csv(results.DATA / "imagenet" / "imagenet100.csv", keep_default_na=False)["class_id"])
    for name, number in FOLDERS.items():
        folder, notebooks = results.DATA / "raw" / name, "6, 7, 8" if name.startswith("imagenet100") else "8"
        if not folder.is_dir():
            report.say(False, f"{name}: {folder} is missing (notebooks {notebooks})")
            continue
        inside = sorted(folder.iterdir())
        classes = [path for path in inside if path.is_dir()]
        files = sum(entry.name.lower().endswith(tuple(SUFFIXES)) for path in classes for entry in os.scandir(path))
        lacking = hundred - {path.name for path in classes} if number in (100, 1000) else set()
        flat = "; its pictures lie in no class folders: sort them by class" if not classes and inside else ""
        few = f"; {len(lacking)} of the paper's classes are missing, such as {min(lacking)}" if lacking else ""
        report.say(not (flat or few) and files > 0, f"{name}: {len(classes)} of {number} classes, {files:,} images{flat}{few}")


def pace(scale: str) -> float | None:
    """Pictures a second, of the second of two batches; None where the model is not here or it would take minutes."""
    name, revision = models.split(results.setting("MODEL", generate.SD_14) if scale == "paper" else "tiny-sd-v1")
    here = models.local(name) or name == "null" or (revision and models.kept(name, revision))
    if not here or (scale == "paper" and name != "null" and results.device(scale) == "cpu"):
        return None
    model = generate.text_to_image(scale).model
    for seed in range(2):
        began = time.monotonic()
        model(["a photo of one dog and no people in a park"] * model.batch, range(seed * model.batch, (seed + 1) * model.batch))
    return model.batch / (time.monotonic() - began)


def clones(scale: str) -> int:
    """Pictures of notebook 6: every kind of clone, and the sets from class names."""
    sizes = plan.sizes(scale)
    return (len(plan.kinds(scale)) + 2) * sizes.classes * sum(sizes.made.values())


def done(scale: str, notebook: str) -> str:
    folder = results.RESULTS / scale / notebook
    if (folder / "run.json").is_file():
        return f"yes, {json.loads((folder / 'run.json').read_text())['seconds'] / 3600:.1f} h"
    kept = [path for name in ("context", "all", "sampled", "plain") for path in folder.glob(f"{name}/*/*/")] if "06" in notebook else []
    pictures = sum(entry.name.endswith(".png") for path in kept for entry in os.scandir(path))
    return f"{pictures:,} pictures" if pictures else "no"


def cost(report: Report, scale: str, speed: float | None, price: float | None) -> None:
    """Hours, memory and disk of every notebook, and in all."""
    print("Notebooks")
    if scale != "paper":
        for notebook in NEEDS:
            print(f"  {notebook}: done: {done(scale, notebook)}")
        return
    rows = []
    for notebook, (pictures, hours, ram, disk) in NEEDS.items():
        pictures += clones(scale) if notebook.startswith("06") else 0
        drawn = pictures / (speed or PACE) / 3600
        rows.append({"notebook": notebook, "pictures": pictures, "GPU-hours": drawn + hours, "GB of memory": ram,
                     "GB of disk": pictures * PICTURE / GB + disk, "done": done(scale, notebook)})  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.1f}".format))
    hours, left = table["GPU-hours"].sum(), table[~table["done"].str.startswith("yes")]
    measured = "as timed here" if speed else "the paper's pace: nothing was timed"
    bill = f", {hours * price:,.0f} at {price:g} an hour" if price else ""
    print(f"  {speed or PACE:.2f} pictures a second ({measured}); in all {hours:,.0f} GPU-hours{bill}; "
          f"not yet done: {left['GPU-hours'].sum():,.0f}. Notebook 7's and 8's share is derived for an H100, not measured.")  # fmt: skip
    whole, rate = 1000 * sum(plan.SIZES[scale].made.values()), speed or PACE
    spread = ", ".join(f"{whole / rate / 3600 / n:,.0f} h on {n}" for n in (1, 5, 64))
    print(f"  the paper's {whole:,} images: {spread} GPUs, {whole * PICTURE / GB:,.0f} GB; a worker that is lost costs at most "
          f"{clone.GPU_TASK / rate:,.0f} s of a GPU")  # fmt: skip
    kept = sum(NEEDS[notebook][3] for notebook in left["notebook"])
    disks = {}  # results and caches may lie on one
    for place, need in ((results.RESULTS / scale, left["GB of disk"].sum() - kept), (results.CACHE, kept + 8)):
        there = next(path for path in (place, *place.parents) if path.exists())
        disks.setdefault(there.stat().st_dev, []).append((place, there, need))
    for parts in disks.values():
        need, free = sum(need for *_, need in parts), shutil.disk_usage(parts[0][1]).free / GB
        text = f"disk at {' and '.join(str(place) for place, *_ in parts)}: {free:,.0f} GB free, up to {need:,.0f} needed"
        report.say(free >= need, f"{text}; results/{scale} may be a link to another disk, and RLDF_CACHE names another place")


def main(scale: str, price: float | None = None) -> int:
    report = Report()
    machine(report, results.choose("SCALE", scale, results.SCALES))
    weights(report, scale)
    data(report, scale)
    speed = report.ask("pictures a second", lambda: pace(scale)) if not report.bad else None
    cost(report, scale, speed, price)
    print(f"\n{report.bad} things would stop a notebook" if report.bad else "\nnothing would stop a notebook")
    return int(report.bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scale", nargs="?", default="tiny")
    parser.add_argument("--price", type=float, help="of a GPU-hour")
    arguments = parser.parse_args()
    sys.exit(main(arguments.scale, arguments.price))
