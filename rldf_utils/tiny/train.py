"""Training of the shipped tiny models on renders (appendix notebook A1): diffusion models, CLIP, captioner, judge.

Every training is a pure function of (settings, step): step k draws its batch from generators seeded by (seed, k).
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from timm.optim import muon
from torch.nn import functional as F
from transformers import CLIPTokenizer

from rldf_utils.tiny import judge, world
from rldf_utils.tiny.cards import record
from rldf_utils.tiny.fitting import Batch, fit, schedule
from rldf_utils.tiny.networks import RECIPES, Recipe, captioner_model, clip_model, diffusion_model
from rldf_utils.tiny.sampling import HELD_OUT, SHARES, crowd, families, loosened, prompt, renders, sample_semantics, scaled

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# timm's Muon works in bfloat16 and takes no other wish; where a CPU has no instructions for it, a step then lasts seven times as long.
muon.zeropower_via_newtonschulz = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)


def diffusion_renders(recipe: Recipe, k: int) -> tuple[np.random.Generator, torch.Tensor, list[dict[str, str]]]:
    """The generator, pictures, uint8 (batch, 64, 64, 3), and semantics of a diffusion model's step k."""
    rng = np.random.default_rng([recipe.seed, k])
    return rng, *renders(rng, recipe.batch, seen_only=True, shares=SHARES)


def diffusion_batch(recipe: Recipe, k: int, tokenizer: CLIPTokenizer) -> Batch:
    """Step k of a diffusion model: pictures, uint8; tokens; noise; times. 10 % of the prompts are empty, for guidance."""
    rng, images, semantics = diffusion_renders(recipe, k)
    prompts = [prompt(s) if rng.random() > 0.1 else "" for s in semantics]
    ids = tokenizer(prompts, padding="max_length", max_length=32, truncation=True, return_tensors="pt").input_ids
    noise = torch.from_numpy(rng.standard_normal((recipe.batch, 64, 8, 8), np.float32))
    return images, ids, noise, torch.from_numpy(rng.integers(0, 1000, recipe.batch))


def train_diffusion(
    folder: Path, checkpoint: Path, recipe: Recipe, steps: int, batch_size: int | None = None, peak: float = 4e-3, device: str = DEVICE
) -> dict:
    """Train a tiny Stable Diffusion on renders and save it, fp16, as a diffusers folder.

    Whatever the network predicts, the error is that of the clean latents it implies, weighted by v prediction's 1 + SNR,
    cut at 6. The saved weights are averaged over time.

    Returns its `record`.
    """
    recipe = replace(recipe, batch=batch_size or recipe.batch)
    pipe = diffusion_model(folder, recipe)
    unet, text = pipe.unet.to(device, memory_format=torch.channels_last), pipe.text_encoder.to(device)
    vae = pipe.vae.to(device)
    train = torch.nn.ModuleList([unet, text]).train()
    average = torch.optim.swa_utils.AveragedModel(train, multi_avg_fn=_follow)
    alphas = pipe.scheduler.alphas_cumprod.to(device)

    def loss(images: torch.Tensor, ids: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        latents = vae.encode(scaled(images)).sample * vae.config.scaling_factor
        signal, rest = alphas[t].view(-1, 1, 1, 1).sqrt(), (1 - alphas[t]).view(-1, 1, 1, 1).sqrt()
        noisy = signal * latents + rest * noise
        out = unet(noisy, t, text(ids)[0]).sample
        clean = signal * noisy - rest * out if recipe.prediction == "v_prediction" else (noisy - rest * out) / signal
        error = (clean - latents).square().mean((1, 2, 3))
        return (error * (1 + alphas[t] / (1 - alphas[t])).clamp(max=6)).mean()

    data = partial(diffusion_batch, recipe, tokenizer=pipe.tokenizer)
    losses, seconds = fit(data, loss, train, _muon(train, peak), partial(schedule, steps=steps, peak=peak), steps, checkpoint,
                          folder.name, average)  # fmt: skip
    train.load_state_dict(average.module.state_dict())
    pipe.unet, pipe.text_encoder = unet.eval(), text.eval()
    pipe.to("cpu")
    pipe.unet.half(), pipe.vae.half()  # not the text encoder: from_pretrained would load it in half and the rest in single precision
    pipe.save_pretrained(folder)
    return record(folder, losses, recipe.batch, seconds)


@torch.no_grad()
def _follow(average: list[torch.Tensor], now: list[torch.Tensor], count: torch.Tensor) -> None:
    """A mean over all steps at first, over the last five hundred later on."""
    torch._foreach_lerp_(average, now, max(0.002, 9 / (int(count) + 10)))


#: stages of the judge's training: steps; the peak of its rate; the shares of pictures whose number and sizes no word tells, of up
#: to 9 objects and 6 people, and of up to 4 and 3, so that large ones have room; what the numbers weigh, all else weighs 1
JUDGE = ((6000, 3e-3, 0.5, 0.0, 1), (1500, 1e-3, 0.5, 0.0, 1), (2200, 1e-3, 0.35, 0.35, 3), (1000, 1e-3, 0.25, 0.25, 1),
         (1200, 1e-3, 0.35, 0.35, 3))  # fmt: skip


def judge_batch(seed: int, size: int, ends: Sequence[int], k: int) -> Batch:
    """Step k of the judge: pictures, uint8; labels (size, axes), -100 where the axis does not show; and what each axis weighs.

    `ends`: the step at which each stage of `JUDGE` ends.
    """
    rng, (many, few, weight) = np.random.default_rng([seed, k, 1]), JUDGE[bisect_right(ends, k)][2:]
    images, labels = [], []
    for _ in range(size):
        semantics, number = sample_semantics(rng, mix=(0, 0.05, 0.15), vary=0.9), int(rng.integers(HELD_OUT))
        layout = world.layout(semantics["Frequency"], semantics["Density"], np.random.default_rng(number))
        kind = rng.random()
        if kind < many + few:
            layout = crowd(rng, *(int(rng.integers(most + 1)) for most in ((9, 6) if kind < many else (4, 3))))
        images.append(world.render(semantics, number, places=layout))
        labels.append(judge.labels(semantics, *map(len, layout)))
    weights = torch.tensor([float(weight) if axis in judge.NUMBERS else 1.0 for axis in judge.HEADS])
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), weights


def train_judge(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 256, seed: int = 0, device: str = DEVICE
) -> dict:
    """Train the judge on renders: one cross-entropy for each axis, over the pictures in which it shows, summed; save it.

    In every stage of `JUDGE`, which share out the steps, the rate decays to zero. Returns its `record`.
    """
    torch.manual_seed(seed)
    ends = [end * steps // sum(stage[0] for stage in JUDGE) for end in accumulate(stage[0] for stage in JUDGE)]
    model = judge.network(judge.HEADS).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), JUDGE[0][1], weight_decay=0.05)

    def loss(images: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        parts = model(scaled(images)).split([len(words) for words in judge.HEADS.values()], dim=1)
        every = [F.cross_entropy(part, column, reduction="sum") for part, column in zip(parts, labels.T, strict=True)]
        return weights @ torch.stack(every) / batch_size

    def rate(k: int) -> float:
        stage = bisect_right(ends, k)
        if not stage:
            return schedule(k, ends[0], JUDGE[0][1])
        return schedule(k - ends[stage - 1], ends[stage] - ends[stage - 1], JUDGE[stage][1], warmup=50, decay=0.9)

    losses, seconds = fit(partial(judge_batch, seed, batch_size, ends), loss, model, optimizer, rate, steps, checkpoint, "judge")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_halves(model), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"heads": judge.HEADS}, indent=1) + "\n")
    return record(folder, losses, batch_size, seconds)


def clip_batch(seed: int, size: int, late: int, k: int, tokenize: Callable) -> Batch:
    """Step k of CLIP: pictures, uint8, the tokens of their sentences, and which pictures share a sentence (texts x pictures).

    In half of the pictures sizes say nothing of number (`loosened`), and there are an eighth as many again of which no sentence
    has the number: pictures that are wrong for every text. From step `late` on it is about nouns.
    """
    rng = np.random.default_rng([seed, k, 2])
    semantics = families(rng, size // 8, 8, nouns=k >= late)
    texts = [prompt(s) for s in semantics]
    layouts = [loosened(rng, s) if rng.random() < 0.5 else None for s in semantics]
    strangers = [semantics[i] for i in rng.integers(0, size, size // 8)]
    layouts += [crowd(rng, int(rng.choice((0, 4, 8, 9))), int(rng.integers(5))) for _ in strangers]
    images = np.stack([world.render(s, int(rng.integers(HELD_OUT)), places=layout)
                       for s, layout in zip(semantics + strangers, layouts, strict=True)])  # fmt: skip
    same = torch.tensor([[a == b for b in texts] + [False] * len(strangers) for a in texts]).float()
    return torch.from_numpy(images), tokenize(texts), same


def train_clip(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 256, peak: float = 2e-3, seed: int = 0, device: str = DEVICE
) -> dict:
    """Train a small open_clip model on renders and their sentences; save it. Returns its `record`.

    The loss is contrastive; equal sentences in a batch are all right answers. The last three sevenths of the steps are about nouns.
    """
    late = steps * 4 // 7
    model = clip_model(folder, seed).to(device).train()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    optimizer = torch.optim.AdamW(model.parameters(), peak, betas=(0.9, 0.98), weight_decay=0.05)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))

    def loss(images: torch.Tensor, tokens: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        x, y, scale = model((images.permute(0, 3, 1, 2).float() / 255 - mean) / std, tokens)[:3]
        logits = scale.clamp(max=100) * y @ x.T
        same, own = same / same.sum(1, keepdim=True), len(tokens)
        return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T[:own], same[:, :own])) / 2

    def rate(k: int) -> float:
        return schedule(k - late, steps - late, peak) if k >= late else schedule(k, late, peak)

    losses, seconds = fit(partial(clip_batch, seed, batch_size, late, tokenize=tokenize), loss, model, optimizer, rate, steps, checkpoint,
                          "tiny-clip")  # fmt: skip
    save_file(_halves(model), folder / "open_clip_model.safetensors")
    return record(folder, losses, batch_size, seconds)


def captioner_batch(seed: int, size: int, k: int, tokenizer: CLIPTokenizer) -> Batch:
    """Step k of the captioner: pictures, uint8; tokens and their mask. In half of the pictures sizes say nothing of number."""
    rng = np.random.default_rng([seed, k, 3])
    semantics = [sample_semantics(rng, mix=(0.1, 0.2, 0.4)) for _ in range(size)]
    images = [world.render(s, int(rng.integers(HELD_OUT)), places=loosened(rng, s) if rng.random() < 0.5 else None) for s in semantics]
    tokens = tokenizer([prompt(s) for s in semantics], padding="max_length", max_length=32, return_tensors="pt")
    return torch.from_numpy(np.stack(images)), tokens.input_ids, tokens.attention_mask


def train_captioner(
    folder: Path, checkpoint: Path, steps: int, batch_size: int = 128, peak: float = 2e-3, seed: int = 0, device: str = DEVICE
) -> dict:
    """Train a small BLIP to write a render's sentence, and save it, fp16, in transformers' format. Returns its `record`."""
    tokenizer, model = captioner_model(folder, seed)
    model = model.to(device).train()

    def loss(images: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model(pixel_values=scaled(images), input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss

    losses, seconds = fit(partial(captioner_batch, seed, batch_size, tokenizer=tokenizer), loss, model, _muon(model, peak),
                          partial(schedule, steps=steps, peak=peak), steps, checkpoint, folder.name,
                          capture=False)  # transformers makes BLIP's mask on the CPU  # fmt: skip
    model.half().save_pretrained(folder)
    return record(folder, losses, batch_size, seconds)


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


PLAN: dict[str, tuple[Callable, dict, str]] = {
    "judge": (train_judge, {"steps": 11_900}, "Says what a picture shows. It saw renders only, and no search may ask it."),
    "tiny-clip": (train_clip, {"steps": 6000}, "An open_clip model: image and text towers."),
    "tiny-captioner": (train_captioner, {"steps": 2500}, "A BLIP of transformers: writes the sentence that it reads off a picture."),
    **{
        name: (train_diffusion, {"steps": recipe.steps, "recipe": recipe}, f"A latent diffusion model that predicts: {recipe.prediction}.")
        for name, recipe in RECIPES.items()
    },
}  #: the shipped models: training function, its settings, one sentence on the model
