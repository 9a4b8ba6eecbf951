"""Stable Diffusion 1.4 at its full size with random weights on a GPU: 512 px, 20 steps, guidance, half precision: `make bench BENCH=gpu`.

The paper's setting (section 3.1: half precision, 20 steps, attention slicing), one picture at a time, against ours in the same run:
batches, `torch.compile`, and a clone with all that belongs to it (safety checker, PNG, sha256, files). Then whether pictures are the
same bytes in another order. About six minutes on an H100; `python tests/bench/gpu.py rehearse` tries the script on a CPU, at small widths.
"""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import standins_models as standins

from rldf_utils import clone, generate, grammar, results
from rldf_utils.tasks import RECIPE

TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}


def full_size() -> None:
    """Give the stand-ins the real widths."""
    standins.UNET |= {"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768, "layers_per_block": 2}
    standins.VAE |= {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
    standins.TEXT |= TEXT
    standins.CHECKER |= {"projection_dim": 768, "text_config_dict": TEXT, "vision_config_dict": VISION}
    standins.CHECKER["text_config"] |= TEXT
    standins.CHECKER["vision_config"] |= VISION


def drawn(model: generate.Diffusers, n: int) -> float:
    """Pictures a second, of n, after a first batch."""
    words = grammar.load("base")
    prompts = [words.surface(words.encoding(k % words.size)) for k in range(n)]
    for part in (range(model.batch), range(n)):
        began = time.monotonic()
        for start in range(0, len(part), model.batch):
            model(prompts[start : start + model.batch], part[start : start + model.batch])
    return n / (time.monotonic() - began)


def main(rehearse: bool) -> None:
    if not rehearse and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: nothing was measured")
    device = "cpu" if rehearse else "cuda"
    sizes, n = ((2, 4), 8) if rehearse else ((8, 16, 32), 128)
    options = {"steps": 2 if rehearse else 20, "guidance": 7.5, "size": 64 if rehearse else 512, "device": device, "checker": True}
    options |= {"negative": generate.NEGATIVE, "dtype": "float32" if rehearse else "float16"}
    rehearse or full_size()
    rows, facts = {}, {}
    with tempfile.TemporaryDirectory() as place:
        folder = standins.stable_diffusion(Path(place) / "sd")
        paper = generate.Diffusers(folder, batch=1, **options)
        paper.pipe.enable_attention_slicing()
        rows["the paper's setting"] = drawn(paper, max(4, n // 8))
        del paper
        for batch in sizes:
            model = generate.Diffusers(folder, batch=batch, **options)
            rows[f"batch {batch}"] = drawn(model, n)
        prompts, order = ["a photo of one dog", "a photo of two cars"] * (sizes[0] // 2), torch.randperm(sizes[0]).tolist()
        model = generate.Diffusers(folder, batch=sizes[0], **options)
        first, again = model(prompts, range(sizes[0])), model([prompts[k] for k in order], order)
        facts["the same bytes in another order"] = bool((first[order] == again).all())
        facts["the same bytes alone"] = bool((first[-1] == model(prompts[-1:], [sizes[0] - 1])[0]).all())
        batch = max(sizes, key=lambda size: rows[f"batch {size}"])
        model = generate.Diffusers(folder, batch=batch, **options)
        words = grammar.load("full")
        classes = pd.DataFrame({"class_id": ["a"], "noun": words.axes["Noun"][:1]})
        manifest = clone.plan(classes, words, {"train": 2 * n}, model.recipe)
        generate.from_recipe(*manifest.iloc[0][RECIPE])(prompts[:1], [0])  # loaded, warm
        began = time.monotonic()
        made = clone.clone(manifest, Path(place) / "clone", progress=None)
        rows[f"a clone, all in, batch {batch}"] = len(made) / (time.monotonic() - began)
        facts["flagged"] = int((made["flagged"] != "").sum())
        generate.from_recipe.cache_clear()
        model = generate.Diffusers(folder, batch=batch, **options)
        model.pipe.unet, model.pipe.vae.decode = torch.compile(model.pipe.unet), torch.compile(model.pipe.vae.decode)
        rows[f"batch {batch}, torch.compile"] = drawn(model, n)
    table = pd.DataFrame({"pictures a second": rows})
    table["times the paper's setting"] = table["pictures a second"] / rows["the paper's setting"]
    machine = results.accelerator(device) or results.provenance()["machine"]
    text = f"{__doc__}\n{table.round(2).to_markdown()}\n\n{pd.Series(facts).to_markdown()}\n\n{machine}\n"
    print(text)
    if not rehearse:
        results.write(results.RESULTS / "bench" / "gpu.md", text)


if __name__ == "__main__":
    main("rehearse" in sys.argv)
