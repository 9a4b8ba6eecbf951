"""What a network should predict when training is short: why tiny-sd-v1 does not predict noise, as SD 1.4 does. `make bench`.

tiny-sd-v1's recipe three times, alike in weights, data, noise and steps: the network predicts the clean latents, v, or
the noise. Then the mean squared error of the clean latents that each implies, on renders that no training saw, by
signal-to-noise ratio; the latents' variance is 1. Low ratios decide what a picture shows, and sampling begins there.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline

from rldf_utils import results, train, world

STEPS, PICTURES, RATIOS = 200, 512, (0.01, 0.1, 0.5, 2.0, 10.0)


@torch.inference_mode()
def errors(folder: Path, prediction: str) -> dict[str, float]:
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    rng = np.random.default_rng(0)
    semantics = [train.sample_semantics(rng) for _ in range(PICTURES)]
    images = np.stack([world.render(s, train.HELD_OUT + i) for i, s in enumerate(semantics)])
    latents = pipe.vae.encode(torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)).sample
    latents = latents * pipe.vae.config.scaling_factor
    noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    ids = pipe.tokenizer([train.prompt(s) for s in semantics], padding="max_length", return_tensors="pt").input_ids
    alphas = pipe.scheduler.alphas_cumprod
    out = {}
    for ratio in RATIOS:
        t = int((alphas / (1 - alphas) - ratio).abs().argmin())
        signal, rest = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        noisy = signal * latents + rest * noise
        network = torch.cat([pipe.unet(n, t, pipe.text_encoder(i)[0]).sample for n, i in zip(noisy.split(64), ids.split(64), strict=True)])
        out[f"ratio {ratio:g}"] = (train.clean(prediction, network, noisy, signal, rest) - latents).square().mean().item()
    return out


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for prediction in ("sample", "v_prediction", "epsilon"):
            recipe = replace(train.RECIPES["tiny-sd-v1"], prediction=prediction)
            cost = train.train_diffusion(Path(folder) / prediction, Path(folder) / f"{prediction}.pt", recipe, STEPS)
            rows.append({"predicts": prediction, "images": cost["images"]} | errors(Path(folder) / prediction, prediction))
    table = pd.DataFrame(rows)
    results.write(results.RESULTS / "bench" / "prediction.csv", table.to_csv(index=False))
    text = f"{__doc__}\n{table.to_markdown(index=False, floatfmt='.3g')}\n\n{results.provenance()['machine']}\n"
    results.write(results.RESULTS / "bench" / "prediction.md", text)
    print(text)


if __name__ == "__main__":
    main()
