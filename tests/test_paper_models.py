"""Paper scale on stand-ins of its models: what they are loaded from, what identifies them, and what is said when something is wrong."""

import json
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import standins_models as standins
import torch
from PIL import Image

from rldf_utils import detect, generate, models, perceive, results

PROMPTS, SEEDS = ["a photo of one dog", "a photo of two cars"], [3, 1]
SMALL = {"steps": 2, "guidance": 7.5, "size": 64, "batch": 2, "negative": generate.NEGATIVE}


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Stand-ins of all that paper scale loads, and what people have instead of it."""
    root = tmp_path_factory.mktemp("standins")
    sd = standins.stable_diffusion(root / "sd14")
    made = {"sd": sd, "sd21": standins.stable_diffusion(root / "sd21", two=True, sample=96), "vae": standins.vae(root / "vae", seed=1)}
    made |= {"nan": standins.vae(root / "nan", spoilt=True), "clip": standins.clip(root / "clip"), "blip": standins.blip_2(root / "blip")}
    made |= {"pickles": standins.as_pickles(sd, root / "pickles"), "halves": standins.as_halves(sd, root / "halves")}
    made |= {"flagging": standins.stable_diffusion(root / "flagging", flag=True)}
    made |= {"odd": standins.as_pickles(sd, root / "a mirror@home" / "sd", only="safety_checker")}
    return SimpleNamespace(**made)


@pytest.fixture
def paper(monkeypatch, tmp_path):
    """Paper scale on this CPU, offline, with an empty hub cache; settings in a few steps."""
    for name, value in {"DEVICE": "cpu", "STEPS": "2", "SIZE": "64", "BATCH": "2"}.items():
        monkeypatch.setenv(f"RLDF_{name}", value)
    results.device.cache_clear()
    monkeypatch.setattr(results, "_noted", {})
    monkeypatch.setattr(generate.Cache.__init__, "__defaults__", (tmp_path / "cache",))
    home = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(home / "hub"), raising=False)
    yield home
    results.device.cache_clear()


@pytest.fixture(scope="session")
def pictures(built):
    return generate.Diffusers(built.sd, vae=str(built.vae), **SMALL)(PROMPTS, SEEDS)


def test_sd_1_4_in_the_formats_of_its_day_draws(pictures):
    assert pictures.shape == (2, 64, 64, 3) and all(image.std() > 5 for image in pictures) and (pictures[0] != pictures[1]).any()


def test_unpatched_code_finds_the_papers_models_in_a_hub_cache_that_was_filled_elsewhere(built, paper, pictures, capsys):
    for model, folder in ((generate.SD_14, built.sd), (generate.FT_MSE, built.vae), (perceive.BLIP_2, built.blip)):
        standins.hub(paper, model, folder)
    cache = generate.text_to_image("paper")
    assert (cache(PROMPTS, SEEDS) == pictures).all()
    assert cache.model.recipe["revision"] == generate.SD_14.partition("@")[2]
    assert results._noted["drawn with"].endswith("cpu, float32")
    assert generate.from_recipe(*cache.model.recipe.values()) is cache.model, "a clone in this process loads no second one"
    said = capsys.readouterr().out
    assert "device: cpu" in said and "float32" in said and generate.FT_MSE in said
    assert len(perceive.captioner("paper")([np.zeros((50, 40, 3), np.uint8)])) == 1, "BLIP-2 loads with transformers 5"


def test_the_hub_s_files_and_the_same_files_in_a_folder_are_one_model(built, paper):
    standins.hub(paper, generate.SD_14, built.sd)
    there, here = generate.Diffusers(generate.SD_14, **SMALL), generate.Diffusers(built.sd, **SMALL)
    assert there.fingerprint == here.fingerprint


@pytest.mark.parametrize(("ask", "model", "load"), [
    ("MODEL", generate.SD_14, lambda: generate.text_to_image("paper")), ("VAE", generate.FT_MSE, None),
    ("CAPTIONER", perceive.BLIP_2, lambda: perceive.captioner("paper")), ("CLIP", perceive.VIT_L_14, lambda: perceive.clip("paper")),
    ("DETECTOR", detect.OWL_V2, lambda: detect.detector("paper"))])  # fmt: skip
def test_out_of_reach_it_is_said_what_to_fetch_and_where_to_put_it(ask, model, load, built, paper, monkeypatch):
    def closed(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", closed)
    name, _, revision = model.partition("@")
    with pytest.raises(FileNotFoundError) as caught:
        (load or (lambda: generate.Diffusers(built.sd, vae=model)))()
    for words in (name, revision, "hf download", "rsync", "HF_HUB_OFFLINE=1", f"RLDF_{ask}=FOLDER"):
        assert words in str(caught.value)


def test_other_weights_at_the_same_path_are_another_model(built, tmp_path):
    shutil.copytree(built.vae, tmp_path / "vae")
    first = generate.Diffusers(built.sd, vae=str(tmp_path / "vae"), **SMALL)
    standins.vae(tmp_path / "vae", seed=2)
    results.fingerprint.cache_clear()
    assert generate.Diffusers(built.sd, vae=str(tmp_path / "vae"), **SMALL).fingerprint != first.fingerprint
    with pytest.raises(ValueError, match="the autoencoder holds .*; the recipe wants"):
        generate.from_recipe(*first.recipe.values())


def test_weights_that_are_not_loaded_do_not_identify(built, tmp_path, pictures):
    shutil.copytree(built.sd, tmp_path / "more")
    shutil.copy(built.sd / "unet" / "config.json", tmp_path / "more" / "README.md")
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors", "v1-4.safetensors"):
        (tmp_path / "more" / name).write_bytes(b"not these")
    more = generate.Diffusers(tmp_path / "more", vae=str(built.vae), **SMALL)
    assert more.fingerprint == generate.Diffusers(built.sd, vae=str(built.vae), **SMALL).fingerprint
    assert (more(PROMPTS, SEEDS) == pictures).all()


def test_the_scheduler_s_configuration_identifies_a_model_too(built, tmp_path):
    shutil.copytree(built.sd, tmp_path / "other")
    path = tmp_path / "other" / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"steps_offset": 1', '"steps_offset": 0'))
    assert generate.Diffusers(tmp_path / "other", **SMALL).fingerprint != generate.Diffusers(built.sd, **SMALL).fingerprint


def test_a_hub_cache_that_is_not_whole_is_told_from_one_that_is(built, paper):
    name, _, revision = generate.SD_14.partition("@")
    snapshot = standins.hub(paper, generate.SD_14, built.sd)
    assert models.kept(name, revision) == snapshot and models.kept(name, "0" * 40) is None
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert models.kept(name, revision) is None and models.missing(snapshot) == ["unet"]
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (snapshot / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "unet" / "model-00001-of-00002.safetensors").touch()
    assert models.missing(snapshot) == ["unet"], "one of two parts"
    (snapshot / "unet" / "model-00002-of-00002.safetensors").touch()
    assert models.missing(snapshot) == []


def test_halves_alone_are_loaded(built, pictures):
    drawn = generate.Diffusers(built.halves, vae=str(built.vae), **SMALL)(PROMPTS, SEEDS)
    assert np.abs(drawn.astype(int) - pictures).mean() < 3


def test_pickles_are_refused_and_how_to_convert_them_is_said(built, tmp_path, pictures):
    with pytest.raises(FileNotFoundError, match=r"weights of .*unet.* only as pickles \(.bin\).*python -m rldf_utils.models"):
        generate.Diffusers(built.pickles, **SMALL)(PROMPTS, SEEDS)
    models.convert(built.pickles, tmp_path / "safe")
    assert (generate.Diffusers(tmp_path / "safe", vae=str(built.vae), **SMALL)(PROMPTS, SEEDS) == pictures).all()


def test_an_at_in_the_path_and_a_checker_of_pickles(built, pictures, paper, monkeypatch):
    with pytest.raises(FileNotFoundError, match="safety_checker only as pickles.*RLDF_CHECKER=no does without"):
        generate.text_to_image("paper", str(built.odd))(PROMPTS, SEEDS)
    monkeypatch.setenv("RLDF_CHECKER", "no")
    monkeypatch.setenv("RLDF_VAE", str(built.vae))
    assert (generate.text_to_image("paper", str(built.odd))(PROMPTS, SEEDS) == pictures).all()


def test_a_model_runs_at_its_own_size_with_its_own_autoencoder(built, paper, monkeypatch):
    monkeypatch.delenv("RLDF_SIZE")
    model = generate.text_to_image("paper", str(built.sd21)).model
    settings = json.loads(model.recipe["settings"])
    assert settings["size"] is settings["vae"] is None and model.pipe.unet.config.sample_size * model.pipe.vae_scale_factor == 768
    assert model.pipe.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize(("name", "value"), [("STEPS", "many"), ("BATCH", "0"), ("GUIDANCE", "-1"), ("SIZE", "1.5"),
                                             ("DTYPE", "int8"), ("CHECKER", "perhaps")])  # fmt: skip
def test_settings_that_are_not_legal_are_named(name, value, built, paper, monkeypatch):
    monkeypatch.setenv(f"RLDF_{name}", value)
    with pytest.raises(ValueError, match=f"RLDF_{name} ?= ?'?{value}'? is not"):
        generate.text_to_image("paper", str(built.sd))


def test_settings_are_part_of_a_model_s_identity(built, paper, monkeypatch):
    monkeypatch.setenv("RLDF_VAE", "own")
    known = {generate.text_to_image("paper", str(built.sd)).fingerprint}
    for name, value in {"STEPS": "3", "GUIDANCE": "5", "SIZE": "128", "BATCH": "4", "DTYPE": "float16", "CHECKER": "no"}.items():
        monkeypatch.setenv(f"RLDF_{name}", value)
        known.add(generate.text_to_image("paper", str(built.sd)).fingerprint)
    assert len(known) == 7


def test_what_the_safety_checker_blackens_is_recorded_wherever_it_goes(built, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_noted", {})
    monkeypatch.setattr("rldf_utils.cache.FLAGGED", set())
    for attempt in range(2):
        cache = generate.Cache(generate.Diffusers(built.flagging, checker=True, **SMALL), tmp_path)
        assert (cache(PROMPTS, SEEDS) == 0).all()
        assert cache.made == 2 * (attempt == 0), "the second time from the disk"
        assert set(cache.flagged) == set(zip(PROMPTS, SEEDS, strict=True)), "and the disk remembers"
        assert results._noted == {"flagged pictures": 2}
    with Image.open(cache._path(PROMPTS[0], SEEDS[0])) as image:
        assert image.text["flagged"] == "blackened by the model's safety checker"
        assert torch.__version__.split("+")[0] in image.text["made"] and "float32" in image.text["made"]


def test_a_picture_that_is_no_number_is_an_error_with_its_remedy(built):
    with pytest.raises(FloatingPointError, match="'a photo of one dog', seed 3: .*not finite in float32.*RLDF_DTYPE=float32.*RLDF_VAE"):
        generate.Diffusers(built.sd, vae=str(built.nan), **SMALL)(PROMPTS, SEEDS)


def test_one_that_is_no_number_in_a_long_run_is_black_and_recorded_and_the_run_goes_on(built, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_noted", {})
    monkeypatch.setattr("rldf_utils.cache.FLAGGED", set())
    cache = generate.Cache(generate.Diffusers(built.sd, vae=str(built.nan), **SMALL), tmp_path)
    with pytest.warns(UserWarning, match="a picture not finite in float32: 'a photo of one dog', seed 3"):
        (image,) = cache(PROMPTS[:1], SEEDS[:1])
    assert (image == 0).all() and cache.flagged == {(PROMPTS[0], SEEDS[0]): "not finite in float32"}
    assert results._noted == {"flagged pictures": 1}


def test_a_sentence_that_the_text_encoder_would_cut_off_is_an_error(built):
    long = "a photo of " + ", ".join(["one dog"] * 40)
    with pytest.raises(ValueError, match=r"a sentence of \d+ tokens, of which the text encoder reads 77; shorten it: 'a photo of one dog"):
        generate.Diffusers(built.sd, **SMALL)([PROMPTS[0], long], SEEDS)


def test_clip_is_identified_by_content_and_may_be_a_folder_or_a_commit_of_the_hub(built, paper, monkeypatch):
    monkeypatch.setenv("RLDF_CLIP", str(built.clip))
    eyes = perceive.clip("paper")
    standins.hub(paper, "someone/clip@" + "a" * 40, built.clip)
    monkeypatch.setenv("RLDF_CLIP", "someone/clip@" + "a" * 40)
    assert perceive.clip("paper").fingerprint == eyes.fingerprint
    before = models.content(eyes.model)
    with torch.no_grad():
        eyes.model.logit_scale += 1
    assert models.content(eyes.model) != before


def test_openai_s_clip_is_one_commit_of_the_hub(built, paper, monkeypatch):
    """Of the real architecture the stand-in has the name; the commit's folder may hold the weights alone, as open_clip leaves it."""
    config = json.loads((built.clip / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-L-14-quickgelu", config)
    folder = standins.hub(paper, perceive.VIT_L_14, built.clip)
    (folder / "open_clip_config.json").unlink()
    eyes, same = perceive.clip("paper"), perceive.Clip(built.clip, device="cpu")
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), np.uint8))
    assert (eyes.embed_images(pictures) == same.embed_images(pictures)).all()
    assert (eyes.embed_texts(PROMPTS) == same.embed_texts(PROMPTS)).all()
    assert eyes.fingerprint == models.content(same.model)
