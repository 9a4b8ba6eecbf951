"""Training: resumable with the same result, and its data what the docstrings say. What it made: test_quality.py."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rldf_utils import results
from rldf_utils.tiny import networks, sampling, train, world


def test_every_word_is_one_token(tmp_path):
    tokenizer = networks.make_tokenizer(tmp_path)
    for encoding in ((3, 40, 2, 8, 3, 2, 1, 3, 2, 1, 3, 1), (0,) * 12):
        sentence = sampling.FULL.surface(encoding)
        pieces = sentence.replace("-", " - ").split()
        assert len(tokenizer(sentence).input_ids) == len(pieces) + 2, tokenizer.tokenize(sentence)
    assert len(tokenizer("xylophone").input_ids) > 3, "unknown words are spelled"


def test_the_longest_sentence_fits():
    tokenizer_length = 32
    longest = max(len(sampling.FULL.surface(sampling.FULL.encode(s)).replace("-", " - ").split()) for s in _samples(2000))
    assert longest + 2 <= tokenizer_length


def _samples(n, **options):
    rng = np.random.default_rng(0)
    return [sampling.sample_semantics(rng, **options) for _ in range(n)]


def test_the_mix_has_its_shares():
    samples = _samples(4000, mix=(0.5, 0.5, 1.0))
    base = np.mean([s["Noun"] in sampling.BASE.axes["Noun"] and s["Scene"] in sampling.BASE.axes["Scene"] for s in samples])
    assert base == pytest.approx(0.5 + 0.5 * 0.06 / 3, abs=0.03)
    assert all(s["Style"] == "a photo of" for s in samples)
    assert {s["Style"] for s in _samples(300, mix=(0, 0, 0))} == set(world.STYLES)
    plain = [np.mean([s["Style"] == "a photo of" for s in _samples(4000, mix=(0, 0, 0), vary=v)]) for v in (0.5, 1.0)]
    assert plain == pytest.approx([0.5 + 0.5 / 6, 1 / 6], abs=0.03)
    for axis, shares in sampling.SHARES.items():
        words = [s[axis] for s in _samples(4000, mix=(0, 0, 0), shares=sampling.SHARES)]
        assert [words.count(word) / 4000 for word in shares] == pytest.approx(list(shares.values()), abs=0.03)
    assert all(s["Style"] == "a photo of" for s in _samples(300, mix=(0, 0, 1), shares=sampling.SHARES)), "inference axes: in the fourth"


def test_families_differ_in_one_or_two_axes():
    group = sampling.families(np.random.default_rng(1), 10, 8)
    assert len(group) == 80
    for i in range(0, 80, 8):
        differences = [sum(group[i][a] != s[a] for a in s) for s in group[i + 1 : i + 8]]
        assert max(differences) <= 2 and sum(differences) > 0


def test_with_nouns_every_other_family_differs_in_the_noun_alone():
    group = sampling.families(np.random.default_rng(1), 10, 8, nouns=True)
    for number in range(10):
        first, *others = group[8 * number : 8 * number + 8]
        differ = {axis for other in others for axis in other if other[axis] != first[axis]}
        assert (differ == {"Noun"}) == (number % 2 == 1)


@pytest.mark.parametrize(("name", "passes"), [("tiny-sd-v1", True), ("tiny-sd-v2", False)])
def test_noise_passes_a_network_that_is_to_predict_it_and_no_other(tmp_path, monkeypatch, name, passes):
    monkeypatch.setattr(networks, "batch", lambda rng, size: (torch.rand(64, 3, 64, 64), None))
    pipe = networks.diffusion_model(tmp_path, networks.RECIPES[name])
    noise, prompts = torch.randn(16, 64, 8, 8), torch.randn(16, 32, networks.RECIPES[name].text)
    with torch.no_grad():
        out = pipe.unet.eval()(noise, 999, prompts).sample
    share = 1 - (out - noise).square().mean() / noise.square().mean()
    assert share > 0.9 if passes else share < 0.1


def test_schedule():
    rates = [train.schedule(k, 1000, 1.0) for k in range(1000)]
    assert rates[0] == 1 / 200 and max(rates) == 1 and rates[500] == 1 and rates[-1] == pytest.approx(1 / 500)


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", train.PLAN)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch, name):
    trainer, options, _ = train.PLAN[name]
    options = options | {"steps": 4, "batch_size": 8}
    trainer(tmp_path / "whole", tmp_path / "whole.pt", **options)
    real, calls = train._descend, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(train, "_descend", dying)
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(Killed):
        trainer(tmp_path / "parts", tmp_path / "parts.pt", **options)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr(train, "_descend", real)
    again = trainer(tmp_path / "parts", tmp_path / "parts.pt", **options)
    assert (again["steps"], again["images"], len(again["loss"])) == (4, 32, 4) and again == train.cost(tmp_path / "parts")
    files = sorted((tmp_path / "whole").rglob("*.safetensors"))
    assert files
    for file in files:
        whole, parts = load_file(file), load_file(tmp_path / "parts" / file.relative_to(tmp_path / "whole"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), file.name


@pytest.mark.parametrize("name", ["judge", "tiny-sd-v2"])
def test_a_training_goes_on_from_a_saved_model_with_new_data(tmp_path, name):
    trainer, options, _ = train.PLAN[name]
    options = options | {"batch_size": 8}
    first = trainer(tmp_path / "first", tmp_path / "first.pt", **options | {"steps": 2})
    second = trainer(tmp_path / "second", tmp_path / "second.pt", **options | {"steps": 5, "start": tmp_path / "first", "peak": 0.0})
    assert (first["steps"], first["images"], first["rounds"]) == (2, 16, 1)
    assert (second["steps"], second["images"], second["rounds"], len(second["loss"])) == (5, 40, 2, 5)
    assert second["loss"][:2] == first["loss"] and torch.load(tmp_path / "second.pt", weights_only=True)["step"] == 3
    assert not any(str(tmp_path) in file.read_text() for file in (tmp_path / "second").rglob("*.json")), "a path of this machine"
    for file in (tmp_path / "first").rglob("*.safetensors"):
        one, other = load_file(file), load_file(tmp_path / "second" / file.relative_to(tmp_path / "first"))
        learned = [key for key in one if "running" not in key and "num_batches" not in key]
        assert learned and all(torch.allclose(one[key], other[key], atol=1e-6) for key in learned), "at rate 0 nothing is learned anew"


def test_no_unseen_pair_is_in_the_diffusion_models_training_and_one_in_ten_pairs_is_unseen():
    assert not any(sampling.unseen(s) for s in _samples(2000, seen_only=True))
    pairs = [sampling.unseen({"Noun": n, "Scene": s}) for n in sampling.FULL.axes["Noun"] for s in sampling.FULL.axes["Scene"]]
    assert sum(pairs) == len(pairs) / 10


def test_the_shipped_models_are_those_of_the_plan_with_cards():
    assert sorted(folder.name for folder in results.MODELS.iterdir()) == sorted(train.PLAN)
    for name in train.PLAN:
        card, cost = (results.MODELS / name / "README.md").read_text(), train.cost(results.MODELS / name)
        assert f"{cost['images']:,} images seen" in card and cost["hardware"] in card and "CC BY-SA 4.0" in card
        assert cost["steps"] == train.PLAN[name][1]["steps"], "the shipped model is the plan's"
