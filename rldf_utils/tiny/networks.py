"""The tiny models before their training: tokenizer, diffusion models, CLIP and captioner (the judge's network: `judge`)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
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

from rldf_utils.tiny import world
from rldf_utils.tiny.autoencoder import PatchAutoencoder
from rldf_utils.tiny.sampling import FULL, renders, scaled


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
    batch: int = 256  #: pictures per step


RECIPES = {
    "tiny-sd-v1": Recipe("epsilon", (128, 128), 128, 0, 7700),
    "tiny-sd-v2": Recipe("v_prediction", (96, 128), 96, 1, 7700),
}


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
    images, _ = renders(np.random.default_rng(recipe.seed), 4096)
    vae = PatchAutoencoder().fit(scaled(images))
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


def clip_model(folder: Path, seed: int) -> open_clip.CLIP:
    """A new, untrained open_clip model of 64 x 64 images and 32 tokens; its tokenizer and configuration are written to the folder."""
    torch.manual_seed(seed)
    tokens = len(make_tokenizer(folder))
    config = {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16},
        "text_cfg": {"context_length": 32, "vocab_size": tokens, "hf_tokenizer_name": ".", "width": 96, "heads": 4, "layers": 2},
    }
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=1) + "\n")
    return open_clip.CLIP(**config)


def captioner_model(folder: Path, seed: int) -> tuple[CLIPTokenizer, BlipForConditionalGeneration]:
    """A tokenizer and a new, untrained BLIP of the world's pictures; the processor is written to the folder."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(folder)
    size = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    vision = BlipVisionConfig(image_size=world.SIZE, patch_size=world.LATTICE, num_hidden_layers=4, **size)
    text = BlipTextConfig(vocab_size=len(tokenizer), encoder_hidden_size=128, num_hidden_layers=2, max_position_embeddings=32,
                          hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, bos_token_id=tokenizer.bos_token_id,
                          sep_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
                          pad_token_id=tokenizer.pad_token_id, **size)  # fmt: skip
    edge = {"height": world.SIZE, "width": world.SIZE}
    BlipProcessor(BlipImageProcessor(size=edge, image_mean=[0.5] * 3, image_std=[0.5] * 3), tokenizer).save_pretrained(folder)
    return tokenizer, BlipForConditionalGeneration(BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
