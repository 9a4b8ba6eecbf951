"""Training of the shipped tiny models on renders (appendix notebook A1): diffusion models, CLIP, captioner, judge.

Every training is a pure function of (settings, step): step k draws its batch from generators seeded by (seed, k), so
that a run resumed from a checkpoint equals an uninterrupted one on the same machine.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from timm.optim import muon
from torch.nn import functional as F
from tqdm import tqdm

from rldf_utils.tiny import judge, world
from rldf_utils.tiny.networks import RECIPES, Recipe, captioner_model, clip_model, diffusion_model
from rldf_utils.tiny.sampling import FULL, HELD_OUT, SHARES, batch, families, prompt

CHECKPOINT_SECONDS = 120  #: between checkpoints
# timm's Muon works in bfloat16 and takes no other wish; where a CPU has no instructions for it, a step then lasts seven times as long.
muon.zeropower_via_newtonschulz = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)


def run(step: Callable[[int], float], state: dict, steps: int, checkpoint: Path, note: str) -> tuple[list[float], float]:
    """Call step(k) for k < steps, resuming from the checkpoint; state's objects are saved by their state_dict.

    Returns:
        The losses, one a step, and the seconds spent, those before an interruption included.
    """
    first, losses, before, begun = 0, [], 0.0, time.monotonic()
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, thing in state.items():
            thing.load_state_dict(saved[name])
        first, losses, before = saved["step"], saved["losses"], saved["seconds"]
    last = time.monotonic()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=note, mininterval=5)
    for k in bar:
        torch.manual_seed(k)
        losses.append(step(k))
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-200:]):.4f}")
        if time.monotonic() - last > CHECKPOINT_SECONDS or k == steps - 1:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            partial = checkpoint.with_suffix(".partial")
            record = {"step": k + 1, "losses": losses, "seconds": before + time.monotonic() - begun}
            torch.save({name: thing.state_dict() for name, thing in state.items()} | record, partial)
            os.replace(partial, checkpoint)
            last = time.monotonic()
    return losses, before + time.monotonic() - begun


def schedule(k: int, steps: int, peak: float, warmup: int = 200, decay: float = 0.5) -> float:
    """Learning rate: linear warm-up, constant, linear decay to zero over the last `decay` of the steps."""
    return peak * min(1.0, (k + 1) / warmup, (steps - k) / (decay * steps))


def diffusion_batch(recipe: Recipe, k: int, size: int = 64) -> tuple[np.random.Generator, torch.Tensor, list[dict[str, str]]]:
    """Step k's generator, images and semantics, see `batch`."""
    rng = np.random.default_rng([recipe.seed, k])
    return rng, *batch(rng, size, seen_only=True, shares=SHARES)


def train_diffusion(folder: Path, checkpoint: Path, recipe: Recipe, steps: int, batch_size: int = 64, peak: float = 4e-3,
                    device: str = "cpu", start: Path | None = None) -> dict:  # fmt: skip
    """Train a tiny Stable Diffusion on renders and save it, fp16, as a diffusers folder.

    Whatever the network predicts, the error is that of the clean latents it implies, weighted by v prediction's 1 + SNR,
    cut at 6. 10 % of the prompts are empty, for guidance; the saved weights are averaged over time.

    Args:
        start: a folder this function made, to go on from; half the peak rate and the steps that it lacks.

    Returns its `record`.
    """
    first, pipe = 0, diffusion_model(folder, recipe)
    if start:
        first, peak = cost(start)["steps"], peak / 2
        saved = StableDiffusionPipeline.from_pretrained(start, dtype=torch.float32)
        for part in ("vae", "text_encoder", "unet"):  # weights alone: a loaded configuration names the folder
            getattr(pipe, part).load_state_dict(getattr(saved, part).state_dict())
        pipe.vae.register_to_config(scaling_factor=saved.vae.config.scaling_factor)
    unet, text = pipe.unet.to(device, memory_format=torch.channels_last), pipe.text_encoder.to(device)
    vae = pipe.vae.to(device)
    train = torch.nn.ModuleList([unet, text]).train()
    average = torch.optim.swa_utils.AveragedModel(train, avg_fn=lambda old, new, n: old + (new - old) * max(0.002, 9 / (n + 10)))
    optimizer = _muon(train, peak)
    alphas = pipe.scheduler.alphas_cumprod.to(device)

    def step(k: int) -> float:
        rng, images, semantics = diffusion_batch(recipe, first + k, batch_size)
        prompts = [prompt(s) if rng.random() > 0.1 else "" for s in semantics]
        ids = pipe.tokenizer(prompts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids
        latents = vae.encode(images.to(device)).sample * vae.config.scaling_factor
        noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(device)
        t = torch.from_numpy(rng.integers(0, len(alphas), batch_size)).to(device)
        signal, rest = alphas[t].view(-1, 1, 1, 1).sqrt(), (1 - alphas[t]).view(-1, 1, 1, 1).sqrt()
        noisy = signal * latents + rest * noise
        out = unet(noisy, t, text(ids.to(device))[0]).sample
        clean = signal * noisy - rest * out if recipe.prediction == "v_prediction" else (noisy - rest * out) / signal
        error = (clean - latents).square().mean((1, 2, 3))
        loss = (error * (1 + alphas[t] / (1 - alphas[t])).clamp(max=6)).mean()
        _descend(loss, train, optimizer, schedule(k, steps - first, peak))
        average.update_parameters(train)
        return loss.item()

    losses, seconds = run(step, {"model": train, "average": average, "optimizer": optimizer}, steps - first, checkpoint, note=folder.name)
    train.load_state_dict(average.module.state_dict())
    pipe.unet, pipe.text_encoder = unet.eval(), text.eval()
    pipe.to("cpu")
    pipe.unet.half(), pipe.vae.half()  # not the text encoder: from_pretrained would load it in half and the rest in single precision
    pipe.save_pretrained(folder)
    return record(folder, losses, len(losses) * batch_size, seconds, start)


def train_judge(folder: Path, checkpoint: Path, steps: int, batch_size: int = 32, peak: float = 1.5e-3, seed: int = 0,
                device: str = "cpu", start: Path | None = None) -> dict:  # fmt: skip
    """Train the judge on renders: one cross-entropy for each axis, over the pictures in which it shows, summed; save it.

    `start`: as in `train_diffusion`, at the whole peak rate. Returns its `record`.
    """
    torch.manual_seed(seed)
    first = cost(start)["steps"] if start else 0
    model = (judge.Judge(start).model if start else judge.network(FULL.axes)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), peak, weight_decay=0.05)
    sizes = [len(words) for words in FULL.axes.values()]

    def step(k: int) -> float:
        images, semantics = batch(np.random.default_rng([seed, first + k, 1]), batch_size, mix=(0, 0.05, 0.15), vary=0.9)
        loss = 0.0
        for (axis, words), logits in zip(FULL.axes.items(), model(images.to(device)).split(sizes, dim=1), strict=True):
            labels = [words.index(s[axis]) if axis in world.visible(s) else -100 for s in semantics]
            loss = loss + F.cross_entropy(logits, torch.tensor(labels, device=device), reduction="sum") / batch_size
        return _descend(loss, model, optimizer, schedule(k, steps - first, peak))

    losses, seconds = run(step, {"model": model, "optimizer": optimizer}, steps - first, checkpoint, note="judge")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_halves(model), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"heads": FULL.axes}, indent=1) + "\n")
    return record(folder, losses, len(losses) * batch_size, seconds, start)


def train_clip(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 128, peak: float = 2e-3, seed: int = 0, device: str = "cpu"
) -> dict:
    """Train a small open_clip model on renders and their sentences; save it. Returns its `record`.

    The loss is contrastive; equal sentences in a batch are all right answers. The last three sevenths of the steps are about nouns.
    """
    first = steps * 4 // 7
    model = clip_model(folder, seed).to(device).train()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    optimizer = torch.optim.AdamW(model.parameters(), peak, betas=(0.9, 0.98), weight_decay=0.05)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))

    def step(k: int) -> float:
        rng = np.random.default_rng([seed, k, 2])
        late = k >= first
        semantics = families(rng, batch_size // 8, 8, nouns=late)
        images = torch.from_numpy(np.stack([world.render(s, int(rng.integers(HELD_OUT))) for s in semantics])).to(device)
        texts = [prompt(s) for s in semantics]
        x, y, scale = model((images.permute(0, 3, 1, 2).float() / 255 - mean) / std, tokenize(texts).to(device))[:3]
        logits = scale * x @ y.T
        same = torch.tensor([[a == b for b in texts] for a in texts], device=device).float()
        same = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
        value = _descend(loss, model, optimizer, schedule(k - first, steps - first, peak) if late else schedule(k, first, peak))
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))
        return value

    losses, seconds = run(step, {"model": model, "optimizer": optimizer}, steps, checkpoint, note="tiny-clip")
    save_file(_halves(model), folder / "open_clip_model.safetensors")
    return record(folder, losses, len(losses) * batch_size, seconds)


def train_captioner(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 64, peak: float = 2e-3, seed: int = 0, device: str = "cpu"
) -> dict:
    """Train a small BLIP to write a render's sentence, and save it, fp16, in transformers' format. Returns its `record`."""
    tokenizer, model = captioner_model(folder, seed)
    model = model.to(device).train()
    optimizer = _muon(model, peak)

    def step(k: int) -> float:
        images, semantics = batch(np.random.default_rng([seed, k, 3]), batch_size, mix=(0.1, 0.2, 0.4))
        tokens = tokenizer([prompt(s) for s in semantics], padding="max_length", max_length=32, return_tensors="pt").to(device)
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        loss = model(pixel_values=images.to(device), labels=labels, **tokens).loss
        return _descend(loss, model, optimizer, schedule(k, steps, peak))

    losses, seconds = run(step, {"model": model, "optimizer": optimizer}, steps, checkpoint, note=folder.name)
    model.half().save_pretrained(folder)
    return record(folder, losses, len(losses) * batch_size, seconds)


def record(folder: Path, losses: list[float], images: int, seconds: float, start: Path | None = None) -> dict:
    """Write folder/training.json: what the training cost, and its loss as a hundred means. Returns it.

    With `start`, a folder whose training went on, its cost and curve are added, and `rounds` counts one more.
    """
    before = cost(start) if start else {"steps": 0, "images": 0, "hours": 0, "loss": []}
    width = before["steps"] // len(before["loss"]) if start else max(1, len(losses) // 100)
    curve = np.array(losses[: len(losses) // width * width]).reshape(-1, width).mean(1)
    what = {
        "steps": before["steps"] + len(losses), "images": before["images"] + images, "hours": round(before["hours"] + seconds / 3600, 2),
        "rounds": before.get("rounds", 1) + 1 if start else 1, "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {'one GPU' if torch.cuda.is_available() else 'no GPU'}",
        "loss": before["loss"] + [round(float(v), 5) for v in curve],
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(what) + "\n")
    return what


def cost(folder: Path) -> dict:
    """What `record` wrote of a model."""
    return json.loads((folder / "training.json").read_text())


def write_card(folder: Path, what: str, measured: pd.DataFrame, more: Mapping[str, str] | None = None, picture: Path | None = None) -> None:
    """Write a model folder's README.md: data, recipe, cost, measured figures, licence.

    Args:
        folder: holds training.json, see `record`.
        what: one sentence on the model.
        measured: rows of `judge.table` with a column `on`.
        more: further rows.
        picture: a contact sheet to be copied beside it.
    """
    spent = cost(folder)
    rows = {
        "data": "renders of the OpenMoji world (`rldf_utils.tiny.world`), seeds below 2^31, made on the spot",
        "recipe": f"`rldf_utils.tiny.train`, notebook A1; {spent['steps']:,} steps in {spent.get('rounds', 1)} round(s), "
        f"{spent['images']:,} images seen",
        "hardware": spent["hardware"],
        "time": f"{spent['hours']} h",
        "date": spent["date"],
        "weights": "safetensors, fp16 (a text encoder of diffusers: fp32)",
        "licence": "CC BY-SA 4.0, as OpenMoji (openmoji.org), from whose glyphs the renders are made",
        **(more or {}),
    }
    lines = [f"# {folder.name}", "", what, "", "| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows.items()], ""]
    lines += ["Measured on the shipped files, with seeds that no training used; 95 % intervals by Wilson's method.", ""]
    lines += ["| on | axis | right | n | interval |", "|---|---|---|---|---|"]
    lines += [f"| {r.on} | {r.axis} | {r.share:.1%} | {r.n} | {r.low:.1%} to {r.high:.1%} |" for r in measured.itertuples() if r.n] + [""]
    if picture:
        shutil.copyfile(picture, folder / "contact_sheet.png")
        lines += [
            "![contact sheet](contact_sheet.png)",
            "",
            "Green frame: the judge sees all that the prompt, over the picture, asks for.",
            "",
        ]
    (folder / "README.md").write_text("\n".join(lines))


def _halves(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.half().cpu() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}


def _muon(model: torch.nn.Module, peak: float) -> muon.Muon:
    """Muon for matrices and convolutions, AdamW for embeddings, norms, biases and the last layer.

    In equal time from nothing (four minutes of one core) its error of the latents was 3 % below AdamW's at every noise level.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    groups = [{"params": []}, {"params": [], "use_fallback": True}]
    for name, parameter in model.named_parameters():
        groups[parameter.ndim < 2 or id(parameter) in tables or "conv_out" in name]["params"].append(parameter)
    return muon.Muon(groups, lr=peak, weight_decay=0.01, nesterov=True, ns_steps=4, betas=(0.9, 0.99))


def _descend(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


PLAN: dict[str, tuple[Callable, dict, str]] = {
    "judge": (train_judge, {"steps": 28_500}, "Says what a picture shows. It saw renders only, and no search may ask it."),
    "tiny-clip": (train_clip, {"steps": 3500}, "An open_clip model: image and text towers."),
    "tiny-captioner": (train_captioner, {"steps": 1800}, "A BLIP of transformers: writes the sentence that it reads off a picture."),
    **{
        name: (train_diffusion, {"steps": recipe.steps, "recipe": recipe}, f"A latent diffusion model that predicts: {recipe.prediction}.")
        for name, recipe in RECIPES.items()
    },
}  #: the shipped models: training function, its settings, one sentence on the model
