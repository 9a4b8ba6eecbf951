"""Which score tells photographs from what the small world knows, and how well: `make bench`.

Photographs: scikit-image's (without what is drawn, such as its logo), its 100 faces of LFW, and those of the folders named on the
command line, if any. A photograph is one source, whatever is cut from it; intervals (95 %, Wilson) are over sources. The small
world: renders of all styles with seeds that no training and no reference has, what JPEG, scaling and screenshots make of them, the
stand-ins of Table 1, and pictures by both diffusion models. AUC: how often a photograph scores higher than one of these.
"""

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import skimage
import torch
from PIL import Image, ImageOps
from scipy.special import logsumexp
from scipy.stats import mannwhitneyu

from rldf_utils import fid, generate, grammar, imagenet, outside, perceive, results, stats
from rldf_utils.tiny import world
from rldf_utils.tiny.sampling import BASE, FULL, HELD_OUT

Images = list[np.ndarray]
PACKAGED = """astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png
              gravel.png hubble_deep_field.jpg ihc.png microaneurysms.png moon.png motorcycle_left.png page.png retina.jpg
              rocket.jpg text.png""".split()
CHOSEN = f"EfficientNet-Lite0: 1 - cosine with the mean of {outside.RENDERS} renders"
RNG = np.random.default_rng(20)


def photographs(folders: Sequence[str]) -> dict[str, Images]:
    data = Path(skimage.__file__).parent / "data"
    faces = (np.load(data / "lfw_subset.npy")[:100] * 255).astype(np.uint8)
    sets = {"scikit-image": [perceive.read_image(data / name) for name in PACKAGED], "faces": list(np.stack([faces] * 3, 3))}
    for folder in folders:
        files = sorted(p for p in Path(folder).iterdir() if p.is_file())
        sets[Path(folder).name] = [np.asarray(ImageOps.contain(Image.fromarray(perceive.read_image(f)), (1024, 1024))) for f in files]
    return sets


def crops(image: np.ndarray, n: int = 3) -> Images:
    """Squares of 0.4 to 0.9 of the shorter side, half of them mirrored."""
    out = []
    for _ in range(n):
        edge = int(min(image.shape[:2]) * RNG.uniform(0.4, 0.9))
        y, x = (RNG.integers(side - edge + 1) for side in image.shape[:2])
        out.append(image[y : y + edge, x : x + edge][:, :: RNG.choice([-1, 1])])
    return out


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(image: np.ndarray, edge: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((edge, edge), how))


def screenshot(image: np.ndarray) -> np.ndarray:
    """Enlarged on a white, grey or dark page with a margin of 1 to 8 %, every second one as JPEG."""
    edge = 64 * int(RNG.integers(2, 6))
    margin = int(RNG.uniform(0.01, 0.08) * edge)
    page = np.full((edge + 2 * margin, edge + 2 * margin, 3), RNG.choice([255, 240, 30]), np.uint8)
    how = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)[RNG.integers(3)]
    page[margin : margin + edge, margin : margin + edge] = scaled(image, edge, how)
    return jpeg(page, 90) if RNG.random() < 0.5 else page


def sentences(words: grammar.Grammar, n: int) -> list[str]:
    return [words.surface(tuple(int(RNG.integers(k)) for k in words.shape)) for _ in range(n)]


def small_world(seed: int, n: int) -> dict[str, Images]:
    renders = [outside.random_render(RNG, seed + i) for i in range(3 * n)]
    some, plain = renders[:n], sentences(BASE, 2 * n)
    sets = {"renders, all axes": renders}
    sets["renders, base world"] = [world.render(BASE.decode(BASE.parse(s)), seed + 10**6 + i) for i, s in enumerate(plain)]
    sets |= {f"JPEG, quality {q}": [jpeg(image, q) for image in some] for q in (30, 50, 75, 90)}
    sets |= {f"scaled to {edge} px": [scaled(image, edge) for image in some] for edge in (32, 48, 96, 128, 256, 512)}
    sets["256 px, then JPEG 75"] = [jpeg(scaled(image, 256), 75) for image in some]
    sets["screenshots"] = [screenshot(image) for image in renders[: 2 * n]]
    for name in imagenet.SETS:
        nouns = RNG.choice(list(world.nouns()), n)
        sets[f"stand-in of {name}"] = [imagenet.picture(name, noun, np.random.default_rng([seed, i])) for i, noun in enumerate(nouns)]
    for name in ("tiny-sd-v1", "tiny-sd-v2"):
        model = generate.Diffusers(name)
        for words, label in ((BASE, "base world"), (FULL, "all axes")):
            prompts, first = sentences(words, n), seed % 2**30
            parts = [model(prompts[i : i + 8], range(first + i, first + min(i + 8, n))) for i in range(0, n, 8)]
            sets[f"{name}, {label}"] = list(np.concatenate(parts))
    return sets


@dataclass
class Seen:
    """What the scores look at: of images (n, 64, 64, 3), tiny-clip's embeddings and EfficientNet-Lite0's features, unit vectors."""

    pixels: np.ndarray
    embeddings: np.ndarray
    features: np.ndarray


def scores(clip: perceive.Clip) -> tuple[Callable[[Images], Seen], dict[str, Callable[[Seen], np.ndarray]]]:
    """A function that looks at images, and name -> function of what it saw that is higher for stranger images."""
    network, centre = outside._centre()

    def look(images: Images) -> Seen:
        pixels = np.stack([np.asarray(ImageOps.fit(Image.fromarray(image), (64, 64), Image.Resampling.BICUBIC)) for image in images])
        features = fid.features(list(pixels), network)
        return Seen(pixels, clip.embed_images(images), features / np.linalg.norm(features, axis=1, keepdims=True))

    texts = clip.embed_texts([BASE.surface(state) for state in BASE.states()])
    scale = clip.model.logit_scale.exp().item()
    known = look([outside.random_render(RNG, outside.SEEDS + 10**6 + i) for i in range(500)])
    mean, inverse = known.embeddings.mean(0), np.linalg.inv(np.cov(known.embeddings.T) + 1e-4 * np.eye(known.embeddings.shape[1]))
    vae = generate.Diffusers("tiny-sd-v1").pipe.vae

    def uneven(seen: Seen) -> np.ndarray:
        grey = seen.pixels.mean(3)
        return (np.abs(np.diff(grey, axis=1)) > 2).mean((1, 2)) + (np.abs(np.diff(grey, axis=2)) > 2).mean((1, 2))

    def error(seen: Seen) -> np.ndarray:
        x = torch.from_numpy(seen.pixels).permute(0, 3, 1, 2) / 127.5 - 1
        return ((vae.decode(vae.encode(x).sample).sample - x) ** 2).mean((1, 2, 3)).numpy()

    return look, {
        "tiny-clip: best cosine over the base world's sentences, negative": lambda seen: -(seen.embeddings @ texts.T).max(1),
        "tiny-clip: energy of its logits": lambda seen: -logsumexp(scale * seen.embeddings @ texts.T, axis=1),
        "tiny-clip: distance to the nearest of 500 renders": lambda seen: 1 - (seen.embeddings @ known.embeddings.T).max(1),
        "tiny-clip: Mahalanobis distance to 500 renders": lambda seen: (((away := seen.embeddings - mean) @ inverse) * away).sum(1),
        "pixels: share of neighbours more than 2 grey levels apart": uneven,
        "tiny-sd-v1's autoencoder: squared error": error,
        "EfficientNet-Lite0: distance to the nearest of 500 renders": lambda seen: 1 - (seen.features @ known.features.T).max(1),
        CHOSEN: lambda seen: 1 - seen.features @ centre,
    }


def auc(high: np.ndarray, low: np.ndarray) -> float:
    return float(mannwhitneyu(high, low).statistic / len(high) / len(low))


def main() -> None:
    rested = np.concatenate([outside.strangeness(images) for images in small_world(HELD_OUT + 10**7, 12).values()])
    below = f"99 % of another such small world, of other seeds, lie below {np.quantile(rested, 0.99):.3f}"
    photos, inside = photographs(sys.argv[1:]), small_world(HELD_OUT + 10**8, 32)
    look, candidates = scores(perceive.clip("tiny"))
    high, low = ({name: look(images) for name, images in sets.items()} for sets in (photos, inside))
    comparison = []
    for name, score in candidates.items():
        strange, known = ({k: score(seen) for k, seen in sets.items()} for sets in (high, low))
        strangers, knowns = np.concatenate(list(strange.values())), np.concatenate(list(known.values()))
        drawn = np.concatenate([values for k, values in known.items() if "tiny-sd" not in k])
        comparison.append({"score": name, "AUC": auc(strangers, knowns), "AUC, renders only": auc(strangers, drawn)}
                          | {f"AUC, {k}": auc(values, knowns) for k, values in strange.items()}
                          | {"found at 1 % false alarms": (strangers > np.quantile(knowns, 0.99)).mean()})  # fmt: skip
    rows = []
    for kind, sets in (("photographs", strange), ("small world", known)):  # the last score is the one that was chosen
        for name, values in [*sets.items(), ("all", np.concatenate(list(sets.values())))]:
            beyond = int((values > outside.THRESHOLD).sum())
            bounds = stats.wilson(beyond, len(values))
            rows.append({"kind": kind, "set": name, "n": len(values), "median": np.median(values), "beyond": beyond,
                         "share": beyond / len(values), "low": bounds[0], "high": bounds[1]})  # fmt: skip
    parts = [crops(image) for images in photos.values() for image in images]
    found = outside.strangeness([crop for part in parts for crop in part]) > outside.THRESHOLD
    table, folder = pd.DataFrame(rows), results.RESULTS / "bench"
    results.write(folder / "outside.csv", table.to_csv(index=False, float_format="%.4g"))
    text = (
        f"{__doc__}\n{pd.DataFrame(comparison).to_markdown(index=False, floatfmt='.3f')}\n\nThe last was chosen: `outside.strangeness`, "
        f"beyond {outside.THRESHOLD}. {below}; photographs had no say in it.\n\n{table.to_markdown(index=False, floatfmt='.3g')}\n\n"
        f"Of {len(found)} crops of the {len(parts)} photographs, {found.mean():.1%} lie beyond it.\n\n{results.provenance()['machine']}\n"
    )
    results.write(folder / "outside.md", text)
    print(text)


if __name__ == "__main__":
    main()
