"""Stand-ins for the models of paper scale: real architectures and the hub's own file formats, small widths, random weights.

What is kept of the real repositories, since loaders trip over it: model_index.json of diffusers 0.2.2 and 0.8.0 with
CLIPFeatureExtractor; PNDM and DDIM scheduler configurations with keys of other schedulers; slow CLIPTokenizer files, SD 2.1 with
"!" as padding; weights under the names of their day (text_model.*, vision_model.vision_model.*, position_ids, the autoencoder's
attention as query, key, value, proj_attn); old configurations (text_config_dict, generation settings, torch_dtype).
"""

import gzip
import json
import os
import shutil
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as kinds
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    Owlv2Config,
    Owlv2ForObjectDetection,
    OwlViTConfig,
    OwlViTForObjectDetection,
    PreTrainedTokenizerFast,
)

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
UNET = {
    "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.2.2", "act_fn": "silu", "attention_head_dim": 8,
    "block_out_channels": [32, 32, 32, 32], "center_input_sample": False, "cross_attention_dim": 64,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 1,
    "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "_diffusers_version": "0.2.2", "act_fn": "silu", "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4, "layers_per_block": 1,
    "norm_num_groups": 32, "out_channels": 3, "sample_size": 512, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
TEXT = {
    "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0,
    "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 64, "initializer_factor": 1.0,
    "initializer_range": 0.02, "intermediate_size": 128, "layer_norm_eps": 1e-05, "max_position_embeddings": 77,
    "model_type": "clip_text_model", "num_attention_heads": 4, "num_hidden_layers": 3, "pad_token_id": 1, "torch_dtype": "float32",
    "transformers_version": "4.21.0.dev0", "vocab_size": 49408,
}  # fmt: skip
GENERATION = {  # what transformers 4.21 wrote into every configuration
    "add_cross_attention": False, "architectures": None, "bad_words_ids": None, "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0,
    "finetuning_task": None, "forced_bos_token_id": None, "forced_eos_token_id": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0, "max_length": 20,
    "min_length": 0, "no_repeat_ngram_size": 0, "num_beam_groups": 1, "num_beams": 1, "num_return_sequences": 1, "output_attentions": False,
    "output_hidden_states": False, "output_scores": False, "prefix": None, "problem_type": None, "pruned_heads": {},
    "remove_invalid_values": False, "repetition_penalty": 1.0, "return_dict": True, "return_dict_in_generate": False, "sep_token_id": None,
    "task_specific_params": None, "temperature": 1.0, "tie_encoder_decoder": False, "tie_word_embeddings": True, "tokenizer_class": None,
    "top_k": 50, "top_p": 1.0, "torch_dtype": None, "torchscript": False, "transformers_version": "4.21.0.dev0", "typical_p": 1.0,
    "use_bfloat16": False,
}  # fmt: skip
CHECKER = {
    "_commit_hash": "4bb648a606ef040e7685bde262611766a5fdd67b", "_name_or_path": "CompVis/stable-diffusion-safety-checker",
    "architectures": ["StableDiffusionSafetyChecker"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592, "model_type": "clip",
    "projection_dim": 32,
    "text_config": GENERATION | {
        "_name_or_path": "", "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu",
        "hidden_size": 32, "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 4, "num_hidden_layers": 2,
        "pad_token_id": 1, "vocab_size": 49408,
    },
    "text_config_dict": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2},
    "torch_dtype": "float32", "transformers_version": None,
    "vision_config": GENERATION | {
        "_name_or_path": "", "attention_dropout": 0.0, "bos_token_id": None, "dropout": 0.0, "eos_token_id": None,
        "hidden_act": "quick_gelu", "hidden_size": 32, "image_size": 224, "initializer_factor": 1.0, "initializer_range": 0.02,
        "intermediate_size": 64, "layer_norm_eps": 1e-05, "model_type": "clip_vision_model", "num_attention_heads": 4,
        "num_channels": 3, "num_hidden_layers": 2, "pad_token_id": None, "patch_size": 56,
    },
    "vision_config_dict": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "patch_size": 56},
}  # fmt: skip
PNDM = {
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.7.0.dev0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None, "clip_sample": False,
}  # fmt: skip
DDIM = PNDM | {"_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", "prediction_type": "v_prediction"}
EXTRACTOR = {
    "crop_size": 224, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD, "resample": 3, "size": 224,
}  # fmt: skip


def put(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def tokenizer(folder: Path, pad: str) -> None:
    """CLIP's vocabulary as vocab.json and merges.txt, as `CLIPTokenizer.save_pretrained` of transformers 4.21 wrote them."""
    text = gzip.open(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz").read().decode()
    merges = text.split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in letters] + [chr(256 + i) for i in range(256 - len(letters))]
    words = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")

    def added(token: str) -> dict:
        return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    special = {"bos_token": added("<|startoftext|>"), "pad_token": pad} | {k: added("<|endoftext|>") for k in ("eos_token", "unk_token")}
    put(folder / "special_tokens_map.json", special)
    typed = {k: {"__type": "AddedToken", **v} for k, v in special.items() if isinstance(v, dict)}
    put(folder / "tokenizer_config.json", {
        "add_prefix_space": False, **typed, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14", "pad_token": "<|endoftext|>",
        "special_tokens_map_file": "./special_tokens_map.json", "tokenizer_class": "CLIPTokenizer",
    })  # fmt: skip


def save(folder: Path, stem: str, config: dict, weights: dict) -> None:
    put(folder / "config.json", config)
    save_file({k: v.detach().clone().contiguous() for k, v in weights.items()}, folder / f"{stem}.safetensors", {"format": "pt"})


def lively(model: torch.nn.Module, gain: float = 1.0) -> torch.nn.Module:
    """Random weights that no layer leaves at zero, so that a dropped tensor changes the output."""
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, gain * (0.3 if p.ndim < 2 else p[0].numel() ** -0.5)).add_(float(p.ndim < 2) * 0.5)
    return model


def old_attention(weights: dict) -> dict:
    """The autoencoder's attention as diffusers 0.2 to 0.16 named it."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    out = {}
    for key, value in weights.items():
        for new, old in names.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        out[key] = value
    return out


def vae(folder: Path, seed: int = 0, spoilt: bool = False) -> Path:
    """An autoencoder's folder; `spoilt`: it decodes everything to what is no number."""
    torch.manual_seed(seed)
    net = lively(AutoencoderKL.from_config(VAE))
    if spoilt:
        net.decoder.conv_out.bias.data.fill_(torch.nan)
    save(folder, "diffusion_pytorch_model", VAE, old_attention(net.state_dict()))
    return folder


def stable_diffusion(out: Path, two: bool = False, sample: int = 64, flag: bool = False) -> Path:
    """SD 1.4, or 2.1, in its folder.

    Args:
        sample: edge of the latents.
        flag: whether the safety checker blackens every picture, else none.
    """
    torch.manual_seed(0)
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.8.0" if two else "0.2.2",
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    if two:
        index |= {"requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"]}
    put(out / "model_index.json", index)
    put(out / "scheduler" / "scheduler_config.json", DDIM if two else PNDM)
    put(out / "feature_extractor" / "preprocessor_config.json", EXTRACTOR)
    tokenizer(out / "tokenizer", "!" if two else "<|endoftext|>")
    text = TEXT | ({"hidden_act": "gelu", "num_hidden_layers": 4, "projection_dim": 512} if two else {})
    weights = {f"text_model.{k}": v for k, v in lively(CLIPTextModel(CLIPTextConfig(**text))).state_dict().items()}
    save(out / "text_encoder", "model", text, weights | {"text_model.embeddings.position_ids": torch.arange(77)[None]})
    unet = UNET | {"sample_size": sample}
    if two:
        unet |= {"_diffusers_version": "0.10.0.dev0", "attention_head_dim": [1, 2, 2, 2], "num_class_embeds": None}
        unet |= {"only_cross_attention": False, "dual_cross_attention": False, "upcast_attention": True, "use_linear_projection": True}
    save(out / "unet", "diffusion_pytorch_model", unet, lively(UNet2DConditionModel.from_config(unet), 0.7).state_dict())
    vae(out / "vae")
    if two:
        return out
    net = lively(StableDiffusionSafetyChecker(CLIPConfig(**CHECKER)))
    for p in (net.concept_embeds_weights, net.special_care_embeds_weights):
        p.data.fill_(-2.0 if flag else 2.0)  # a cosine is above -2 always, above 2 never
    weights = {}
    for key, value in net.state_dict().items():
        weights[key.replace("vision_model.", "vision_model.vision_model.", 1) if key.startswith("vision_model.") else key] = value
    weights["vision_model.vision_model.embeddings.position_ids"] = torch.arange((224 // 56) ** 2 + 1)[None]
    save(out / "safety_checker", "model", CHECKER, weights)
    return out


def as_pickles(folder: Path, out: Path, only: str = "*") -> Path:
    """The same model with the weights of its parts (of one, by name) as .bin alone, as many mirrors have them."""
    shutil.copytree(folder, out)
    for path in out.glob(f"{only}/*.safetensors"):
        torch.save(load_file(path), path.with_name({"model": "pytorch_model"}.get(path.stem, path.stem) + ".bin"))
        path.unlink()
    return out


def as_halves(folder: Path, out: Path) -> Path:
    """The same model as `save_pretrained(variant="fp16")` writes it."""
    shutil.copytree(folder, out)
    for path in out.rglob("*.safetensors"):
        halves = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
        save_file(halves, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    return out


def clip(out: Path) -> Path:
    """OpenAI's ViT-L-14-quickgelu in open_clip's folder format. Random eyes: embeddings vary with picture and text, and mean nothing."""
    torch.manual_seed(0)
    config = {
        "embed_dim": 64, "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 56},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    }  # fmt: skip
    model = CLIP(**config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim >= 2:
                p.normal_(0, 1.5 * p[0].numel() ** -0.5)
        model.logit_scale.fill_(4.6052)
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    put(out / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, out / "open_clip_model.safetensors", {"format": "pt"})
    return out


def blip_2(out: Path) -> Path:
    """Salesforce/blip2-opt-2.7b with the processor files of its repository."""
    torch.manual_seed(0)
    bpe = Tokenizer(kinds.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "</s>", "<unk>", "<image>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator(["a photo of two dogs and one person in a farm"] * 9, trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", bos_token="</s>", eos_token="</s>", unk_token="</s>",
                                    additional_special_tokens=["<image>"])  # fmt: skip
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config=small | {"intermediate_size": 64, "image_size": 224, "patch_size": 56},
        qformer_config=small | {"intermediate_size": 64, "encoder_hidden_size": 32, "vocab_size": 100},
        text_config=small | {"model_type": "opt", "ffn_dim": 64, "vocab_size": len(words), "max_position_embeddings": 256,
                             "word_embed_proj_dim": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        num_query_tokens=8, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    Blip2ForConditionalGeneration(config).save_pretrained(out)
    words.save_pretrained(out)
    put(out / "preprocessor_config.json", {
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": MEAN, "image_std": STD,
        "image_processor_type": "BlipImageProcessor", "processor_class": "Blip2Processor", "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
    })  # fmt: skip
    token = {"content": "<image>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    processor = {"image_token": token | {"__type": "AddedToken"}, "num_query_tokens": 8, "processor_class": "Blip2Processor"}
    put(out / "processor_config.json", processor)
    return out


def owl(out: Path, two: bool = False) -> Path:
    """google/owlvit-base-patch32, or owlv2-base-patch16-ensemble, with the processor files of its repository. Its boxes lie anywhere."""
    torch.manual_seed(0)
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    configured, kind = (Owlv2Config, Owlv2ForObjectDetection) if two else (OwlViTConfig, OwlViTForObjectDetection)
    config = configured(text_config=small | {"max_position_embeddings": 16, "vocab_size": 49408},
                        vision_config=small | {"image_size": 96, "patch_size": 32}, projection_dim=64)  # fmt: skip
    lively(kind(config)).save_pretrained(out)
    tokenizer(out, "!")
    names = json.loads((out / "tokenizer_config.json").read_text())
    put(out / "tokenizer_config.json", names | {
        "model_max_length": 16, "pad_token": "!", "processor_class": "Owlv2Processor" if two else "OwlViTProcessor",
    })  # fmt: skip
    put(out / "preprocessor_config.json", {
        "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True, "image_mean": MEAN, "image_std": STD,
        "image_processor_type": "Owlv2ImageProcessor", "processor_class": "Owlv2Processor", "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"height": 96, "width": 96},
    } if two else EXTRACTOR | {
        "crop_size": 96, "do_center_crop": False, "feature_extractor_type": "OwlViTFeatureExtractor", "size": [96, 96],
    })  # fmt: skip
    return out


def hub(home: Path, model: str, folder: Path) -> Path:
    """Lays a folder into a hub cache as if "owner/name@revision" had been fetched; gives the cache's folder of it."""
    name, _, revision = model.partition("@")
    root = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, root / "snapshots" / revision, copy_function=os.link)
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(revision)
    return root / "snapshots" / revision
