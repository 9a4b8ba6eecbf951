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
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from timm.optim import muon
from torch.nn import functional as F
from tqdm import tqdm
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

from rldf_utils import grammar, judge, world
from rldf_utils.autoencoder import PatchAutoencoder

CHECKPOINT_SECONDS = 120  #: between checkpoints
HELD_OUT = 2**31  #: seeds below it are for training, seeds from it on for evaluation and inputs
MIX = (0.05, 0.15, 0.4)  #: cumulative shares of the base world, the 9x world and all nouns in plain contexts; the rest has all axes
SHARES = {
    "Frequency": {"one": 0.4, "two": 0.3, "three": 0.15, "many": 0.15},
    "Style": {"a photo of": 0.2, "a flat icon of": 0.25, "an oil painting of": 0.08, "a pixel art picture of": 0.12,
              "a line drawing of": 0.2, "a silhouette of": 0.15},
}  #: in a diffusion model's training; large things, faint lines and masses of one colour take more learning  # fmt: skip
BASE, LARGE, FULL = grammar.load("base"), grammar.load("large"), grammar.load("full")
PLAIN = FULL.decode((0,) * len(FULL.axes))
# timm's Muon works in bfloat16 and takes no other wish; where a CPU has no instructions for it, a step then lasts seven times as long.
muon.zeropower_via_newtonschulz = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)


def unseen(semantics: dict[str, str]) -> bool:
    """Whether a (noun, scene) pair is kept from the diffusion models' training: one in ten, spread evenly over both."""
    nouns, scenes = FULL.axes["Noun"], FULL.axes["Scene"]
    return (nouns.index(semantics["Noun"]) + 3 * scenes.index(semantics["Scene"])) % 10 == 0


def sample_semantics(rng: np.random.Generator, mix: tuple[float, float, float] = MIX, seen_only: bool = False,
                     shares: Mapping[str, Mapping[str, float]] = {}, vary: float = 0.5) -> dict[str, str]:  # fmt: skip
    """Words for one training picture: base world, 9x world, all nouns, or all nouns with inference axes.

    Args:
        mix: the cumulative shares of the first three; the fourth has the rest.
        seen_only: no `unseen` pair.
        shares: axis -> word -> share, where words are not to be equally likely; an inference axis in the fourth only.
        vary: how likely each other inference axis of the fourth is drawn anew, not plain.
    """
    kind = int(np.searchsorted(mix, rng.random(), side="right"))
    core = (BASE, LARGE, FULL, FULL)[kind]
    semantics = dict(PLAIN)
    while True:
        for axis in BASE.axes:
            semantics[axis] = core.axes[axis][rng.integers(len(core.axes[axis]))]
        if not (seen_only and unseen(semantics)):
            break
    if kind == 3:
        for axis in FULL.axes:
            if axis not in BASE.axes and rng.random() < vary:
                semantics[axis] = FULL.axes[axis][rng.integers(len(FULL.axes[axis]))]
    for axis, words in shares.items():
        if axis in BASE.axes or kind == 3:
            semantics[axis] = str(rng.choice(list(words), p=list(words.values())))
    return semantics


def batch(rng: np.random.Generator, size: int, **options) -> tuple[torch.Tensor, list[dict[str, str]]]:
    """Renders, float (size, 3, 64, 64) in [-1, 1], and their semantics."""
    semantics = [sample_semantics(rng, **options) for _ in range(size)]
    images = np.stack([world.render(s, int(rng.integers(HELD_OUT))) for s in semantics])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1), semantics


def prompt(semantics: dict[str, str]) -> str:
    """The full grammar's sentence."""
    return FULL.surface(FULL.encode(semantics))


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


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP byte-pair tokenizer in which every word of the full grammar is one token, and any text still encodes."""
    words = sorted(
        {word for sentence in FULL.words.values() for forms in sentence for word in forms.replace("/", " ").replace("-", " ").split()}
    )
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = letters + [letter + "</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in [*words, "-"]:
        parts = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:  # what the merges so far make of it, lowest rank first
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == pair:
                    parts[i : i + 2] = [parts[i] + parts[i + 1]]
                i += 1
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            vocabulary.append(parts[0])
    vocabulary = list(dict.fromkeys([*vocabulary, "<|startoftext|>", "<|endoftext|>"]))
    tokenizer = CLIPTokenizer({token: i for i, token in enumerate(vocabulary)}, merges, model_max_length=32)
    tokenizer.save_pretrained(folder)
    return tokenizer


@dataclass(frozen=True)
class Recipe:
    """What makes one tiny Stable Diffusion differ from another."""

    prediction: str  #: what the network predicts: "epsilon" (the noise) or "v_prediction"
    channels: tuple[int, int]  #: widths of the UNet's two levels, 8 x 8 and 4 x 4 tokens
    text: int  #: width of the text encoder
    seed: int  #: of weights, data and noise
    steps: int  #: of the shipped model


RECIPES = {
    "tiny-sd-v1": Recipe("epsilon", (128, 128), 128, 0, 29_900),
    "tiny-sd-v2": Recipe("v_prediction", (96, 128), 96, 1, 12_000),
}


def diffusion_batch(recipe: Recipe, k: int, size: int = 64) -> tuple[np.random.Generator, torch.Tensor, list[dict[str, str]]]:
    """Step k's generator, images and semantics, see `batch`."""
    rng = np.random.default_rng([recipe.seed, k])
    return rng, *batch(rng, size, seen_only=True, shares=SHARES)


@torch.no_grad()
def _let_noise_through(unet: UNet2DConditionModel) -> None:
    """Begin with a network whose output is its input: all is noise.

    The implied clean latents have the output's error times noise over signal, so that noise must pass almost exactly. It
    does on the outermost skip connection, as pairs (x, -x), since SiLU(x) - SiLU(-x) = x, if one group of the norm before
    it holds all channels: then its scale hardly differs between pictures. The UNet's first level is twice as wide as the
    latents.
    """
    x, last = torch.eye(unet.config.in_channels), unet.up_blocks[-1].resnets[-1]
    pair = torch.cat([x, -x])
    for layer in (unet.conv_in, last.conv_shortcut, last.conv2, unet.conv_out):
        layer.weight.mul_(0.1)
    unet.conv_in.weight[:, :, 1, 1] += pair
    last.conv_shortcut.weight[:, -len(pair) :, 0, 0] += torch.eye(len(pair))
    unet.conv_out.weight[:, :, 1, 1] += pair.T


def diffusion_model(folder: Path, recipe: Recipe) -> StableDiffusionPipeline:
    """A new, untrained tiny Stable Diffusion: patch autoencoder fitted on renders, CLIP text encoder, UNet.

    The UNet gets the prompt twice: by cross-attention, as in Stable Diffusion, and pooled, added to the time embedding. One
    that is to predict noise begins by letting it through, and has SD 1.4's betas, which leave some signal at every step.
    """
    torch.manual_seed(recipe.seed)
    epsilon = recipe.prediction == "epsilon"
    tokenizer = make_tokenizer(folder / "tokenizer")
    images, _ = batch(np.random.default_rng(recipe.seed), 4096)
    vae = PatchAutoencoder().fit(images)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.text, intermediate_size=4 * recipe.text, projection_dim=recipe.text,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, hidden_act="gelu", bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=64, out_channels=64, block_out_channels=recipe.channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=recipe.text, attention_head_dim=4, resnet_time_scale_shift="scale_shift",
        addition_embed_type="text", addition_embed_type_num_heads=4, norm_num_groups=1 if epsilon else 32)  # fmt: skip
    if epsilon:
        _let_noise_through(unet)
        betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    else:
        betas = {"beta_schedule": "squaredcos_cap_v2"}
    scheduler = DPMSolverMultistepScheduler(prediction_type=recipe.prediction, steps_offset=1, **betas)
    return StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)  # fmt: skip


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


def families(rng: np.random.Generator, count: int, size: int, nouns: bool = False) -> list[dict[str, str]]:
    """Semantics in `count` families of `size`: a random one and neighbours that differ from it in one or two axes.

    Such near misses in a batch are what makes a contrastive model look at every axis. `nouns`: more of the hundred, and
    in every other family the neighbours differ in the noun alone.
    """
    out = []
    for number in range(count):
        first = sample_semantics(rng, mix=(0.05, 0.15, 0.7) if nouns else (0.35, 0.65, 0.9))
        core = next(g for g in (BASE, LARGE, FULL) if all(first[a] in g.axes[a] for a in BASE.axes))
        open_axes = [a for a in FULL.axes if a in BASE.axes or first[a] != PLAIN[a]]
        out.append(first)
        for _ in range(size - 1):
            other = dict(first)
            for axis in ["Noun"] if nouns and number % 2 else rng.choice(open_axes, rng.integers(1, 3), replace=False):
                words = (core if axis in BASE.axes else FULL).axes[axis]
                other[axis] = words[rng.integers(len(words))]
            out.append(other)
    return out


def train_clip(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 128, peak: float = 2e-3, seed: int = 0, device: str = "cpu"
) -> dict:
    """Train a small open_clip model on renders and their sentences; save it. Returns its `record`.

    The loss is contrastive; equal sentences in a batch are all right answers. The last three sevenths of the steps are about nouns.
    """
    torch.manual_seed(seed)
    first = steps * 4 // 7
    tokens = len(make_tokenizer(folder))
    config = {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16},
        "text_cfg": {"context_length": 32, "vocab_size": tokens, "hf_tokenizer_name": ".", "width": 96, "heads": 4, "layers": 2},
    }
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=1) + "\n")
    model = open_clip.CLIP(**config).to(device).train()
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
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(folder)
    size = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    vision = BlipVisionConfig(image_size=world.SIZE, patch_size=world.LATTICE, num_hidden_layers=4, **size)
    text = BlipTextConfig(vocab_size=len(tokenizer), encoder_hidden_size=128, num_hidden_layers=2, max_position_embeddings=32,
                          hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, bos_token_id=tokenizer.bos_token_id,
                          sep_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
                          pad_token_id=tokenizer.pad_token_id, **size)  # fmt: skip
    model = BlipForConditionalGeneration(BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).to(device).train()
    edge = {"height": world.SIZE, "width": world.SIZE}
    BlipProcessor(BlipImageProcessor(size=edge, image_mean=[0.5] * 3, image_std=[0.5] * 3), tokenizer).save_pretrained(folder)
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
        "data": "renders of the OpenMoji world (`rldf_utils.world`), seeds below 2^31, made on the spot",
        "recipe": f"`rldf_utils.train`, notebook A1; {spent['steps']:,} steps in {spent.get('rounds', 1)} round(s), "
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
