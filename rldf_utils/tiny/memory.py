"""Memorisation (contribution 4): are generated pictures nearer to training's pictures than to others of the same sentences?

A training picture and a held-out one of the same words are made the same way, by seeds of which training used one. If
nothing was learnt by heart they can be exchanged: which of the two is nearer is the toss of a coin. Sentences of training
are what a model is asked for, since that is where copies are found (Carlini et al., 2023).
"""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from rldf_utils import stats
from rldf_utils.generate import Diffusers
from rldf_utils.tiny import world
from rldf_utils.tiny.networks import Recipe
from rldf_utils.tiny.sampling import HELD_OUT, SHARES, sampled, scaled

SMALLEST = 0.05  #: smallest effect of interest: of the share that is nearer to training, above one half; a tenth of the pictures are copies


def training(recipe: Recipe, wanted: Mapping[str, str], count: int) -> tuple[list[dict[str, str]], np.ndarray]:
    """The last `count` pictures of a diffusion model's training that have the wanted words: all words, and uint8 (count, 64, 64, 3).

    A step's batch is a function of its number, so only what is wanted is painted again; see `train.diffusion_renders`.

    Args:
        wanted: axis -> word; {} takes every picture.

    Raises:
        ValueError: training had fewer.
    """
    words, pictures = [], []
    for k in reversed(range(recipe.steps)):
        batch = sampled(np.random.default_rng([recipe.seed, k]), recipe.batch, seen_only=True, shares=SHARES)
        for semantics, seed in zip(*batch, strict=True):
            if wanted.items() <= semantics.items():
                words.append(semantics)
                pictures.append(world.render(semantics, seed))
                if len(words) == count:
                    return words, np.stack(pictures)
    raise ValueError(f"training had {len(words)} pictures with {dict(wanted)}, not {count}; ask for fewer")


def held_out(words: Sequence[Mapping[str, str]], *known: np.ndarray) -> np.ndarray:
    """One more picture of each of the words, uint8 (n, 64, 64, 3), by the first seed from `HELD_OUT` on that paints none of the known.

    The world has few pictures of a plain sentence, so another seed may paint the same one.
    """
    pictures = []
    for i, semantics in enumerate(words):
        seed = HELD_OUT + 1000 * i
        picture = world.render(semantics, seed)
        while any((picture == some[i]).all() for some in known):
            seed += 1
            picture = world.render(semantics, seed)
        pictures.append(picture)
    return np.stack(pictures)


def pixels(pictures: np.ndarray) -> np.ndarray:
    """Pictures, uint8 (n, height, width, 3), as float64 (n, all): the distance of two is the root of a whole number, exactly."""
    return pictures.reshape(len(pictures), -1).astype(np.float64)


def nearest(pictures: np.ndarray, ours: np.ndarray, other: np.ndarray, rng: np.random.Generator, embed: Callable = pixels) -> pd.DataFrame:
    """Where pictures lie in a pool of pairs: `ours` of training, `other` held out, both (pairs, 64, 64, 3), pair by pair of one sentence.

    Args:
        rng: decides ties.
        embed: pictures -> (n, d), such as `Judge.features`.

    Returns:
        One row per picture: `training`, `held-out`, the distance to the nearest of each; `pair` of the nearest of all; `nearer`,
        whether that is training's.
    """
    n = len(ours)
    order = rng.permutation(2 * n)
    x, pool = (torch.from_numpy(np.asarray(embed(part), np.float64)) for part in (pictures, np.concatenate([ours, other])[order]))
    gaps = torch.cdist(x, pool).numpy()
    first = order[gaps.argmin(1)]
    distances = {"training": gaps[:, order < n].min(1), "held-out": gaps[:, order >= n].min(1)}
    return pd.DataFrame({**distances, "pair": first % n, "nearer": first < n})


def split_test(found: pd.DataFrame, rng: np.random.Generator, splits: int = 4000) -> dict[str, float]:
    """Whether more pictures are nearer to training than chance has it: against random splits of every pair.

    A split tosses a coin for each pair which of its two pictures is called training's. So pictures that have one nearest
    neighbour count as one, as they must.

    Args:
        found: of `nearest`.

    Returns:
        n; share: nearer to training; low, high: as far around it as 95 % of the splits lie around a half; p: one-sided, uniform
        if nothing was learnt by heart.
    """
    pairs, pair = np.unique(found["pair"], return_inverse=True)
    nearer = found["nearer"].to_numpy()
    counts = np.stack([np.bincount(pair, side, len(pairs)) for side in (nearer, ~nearer)])  # pictures of each pair's either side
    called = rng.random((splits, len(pairs))) < 0.5
    shares = np.where(called, *counts).sum(1) / len(found)
    share = float(nearer.mean())
    low, high = np.percentile(shares - 0.5, [2.5, 97.5])
    p = (1 + (shares >= share - 1e-12).sum()) / (1 + splits)
    return {"n": len(found), "share": share, "low": max(share + low, 0.0), "high": min(share + high, 1.0), "p": float(p)}


def memorised(found: pd.DataFrame, rng: np.random.Generator, **columns) -> dict:
    """`columns`, `split_test`, the verdict on the claim that training pictures are not copied, and the n that would decide it."""
    row = {**columns, **split_test(found, rng), "smallest": 0.5 + SMALLEST}
    share, low, high, smallest = (row[name] for name in ("share", "low", "high", "smallest"))
    row["verdict"] = stats.verdict(low - smallest, high - smallest, -1)
    undecided = row["verdict"] == "undecided" and share != smallest
    return {**row, "n to decide": np.ceil(row["n"] * stats.more((high - low) / 2, share - smallest)) if undecided else np.nan}


def overfit(model: Diffusers, pictures: np.ndarray, prompts: Sequence[str], steps: int, rate: float = 2e-3, seed: int = 0) -> list[float]:
    """Train a tiny model's UNet on a few pictures until it knows them by heart, on purpose. Returns every step's loss.

    The loss is `train.train_diffusion`'s, of a model that predicts the noise; times are the noisier ones, at which it is settled
    where things stand.
    """
    pipe, rng = model.pipe, torch.Generator().manual_seed(seed)
    unet, alphas = pipe.unet.train(), pipe.scheduler.alphas_cumprod
    with torch.no_grad():
        latents = pipe.vae.encode(scaled(torch.from_numpy(pictures))).sample * pipe.vae.config.scaling_factor
        text = torch.cat([pipe.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in prompts])
    optimizer, losses = torch.optim.AdamW(unet.parameters(), rate), []
    for _ in range(steps):
        t = torch.randint(300, 1000, (len(latents),), generator=rng)
        noise = torch.randn(latents.shape, generator=rng)
        signal, rest = alphas[t].view(-1, 1, 1, 1).sqrt(), (1 - alphas[t]).view(-1, 1, 1, 1).sqrt()
        noisy = signal * latents + rest * noise
        clean = (noisy - rest * unet(noisy, t, text).sample) / signal
        error = (clean - latents).square().mean((1, 2, 3))
        loss = (error * (1 + alphas[t] / (1 - alphas[t])).clamp(max=6)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    unet.eval()
    return losses


def chart(found: Mapping[str, pd.DataFrame], table: pd.DataFrame, space: str) -> plt.Figure:
    """Distances to training and held-out, a panel for each set of pictures; on the line both are alike, and below it training is nearer.

    Args:
        found: title -> rows of `nearest`.
        table: rows of `memorised` with the titles as `pictures`, in the same space.
        space: its name.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(2.9 * len(found), 3.2), sharex=True, sharey=True, squeeze=False)
    most = max(frame[["training", "held-out"]].to_numpy().max() for frame in found.values()) * 1.03
    for ax, (title, frame) in zip(axes[0], found.items(), strict=True):
        row = table[table["pictures"] == title].iloc[0]
        ax.plot([0, most], [0, most], color="#7f7f7f", lw=0.8)
        for nearer, colour in ((False, "#0072b2"), (True, "#d55e00")):
            part = frame[frame["nearer"] == nearer]
            ax.scatter(part["held-out"], part["training"], s=6, alpha=0.6, color=colour, lw=0)
        text = f"nearer to training: {row['share']:.2f}\n[{row['low']:.2f}, {row['high']:.2f}], p = {row['p']:.2g}"
        ax.set(title=f"{title}\n{text}", xlabel=f"to the nearest held-out\n({space})", xlim=(0, most), ylim=(0, most), aspect="equal")
    axes[0, 0].set_ylabel("to the nearest of training")
    return figure
