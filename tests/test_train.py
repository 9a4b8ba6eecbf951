"""Training: resumable with the same result, and its data what the docstrings say. The models' quality: model cards."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rldf_utils import judge, results, train, world


def test_every_word_is_one_token(tmp_path):
    tokenizer = train.make_tokenizer(tmp_path)
    for encoding in ((3, 40, 2, 8, 3, 2, 1, 3, 2, 1, 3, 1), (0,) * 12):
        sentence = train.FULL.surface(encoding)
        pieces = sentence.replace("-", " - ").split()
        assert len(tokenizer(sentence).input_ids) == len(pieces) + 2, tokenizer.tokenize(sentence)
    assert len(tokenizer("xylophone").input_ids) > 3, "unknown words are spelled"


def test_the_longest_sentence_fits():
    tokenizer_length = 32
    longest = max(len(train.FULL.surface(train.FULL.encode(s)).replace("-", " - ").split()) for s in _samples(2000))
    assert longest + 2 <= tokenizer_length


def _samples(n, **options):
    rng = np.random.default_rng(0)
    return [train.sample_semantics(rng, **options) for _ in range(n)]


def test_the_mix_has_its_shares():
    samples = _samples(4000, mix=(0.5, 0.5, 1.0))
    base = np.mean([s["Noun"] in train.BASE.axes["Noun"] and s["Scene"] in train.BASE.axes["Scene"] for s in samples])
    assert base == pytest.approx(0.5 + 0.5 * 0.06 / 3, abs=0.03)
    assert all(s["Style"] == "a photo of" for s in samples)
    assert {s["Style"] for s in _samples(300, mix=(0, 0, 0))} == set(world.STYLES)


def test_families_differ_in_one_or_two_axes():
    group = train.families(np.random.default_rng(1), 10, 8)
    assert len(group) == 80
    for i in range(0, 80, 8):
        differences = [sum(group[i][a] != s[a] for a in s) for s in group[i + 1 : i + 8]]
        assert max(differences) <= 2 and sum(differences) > 0


def test_schedule():
    rates = [train.schedule(k, 1000, 1.0) for k in range(1000)]
    assert rates[0] == 1 / 200 and max(rates) == 1 and rates[500] == 1 and rates[-1] == pytest.approx(1 / 300)


class Killed(Exception):
    pass


@pytest.mark.parametrize("trainer", [train.train_judge, train.train_clip, train.train_diffusion])
def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch, trainer):
    options = {"steps": 4, "batch_size": 8}
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
    assert len(again["losses"]) == 4 and again["images"] == 32
    files = sorted((tmp_path / "whole").rglob("*.safetensors"))
    assert files
    for file in files:
        whole, parts = load_file(file), load_file(tmp_path / "parts" / file.relative_to(tmp_path / "whole"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), file.name


def test_the_shipped_judge_is_right_on_fresh_renders():
    truth = [{axis: s[axis] for axis in train.BASE.axes} for s in _samples(200, mix=(0, 0, 1))]
    images = np.stack([world.render(t, train.HELD_OUT + i) for i, t in enumerate(truth)])
    accuracy = judge.accuracy(judge.Judge()(images), truth)
    assert accuracy["Noun"] >= 0.95 and min(accuracy["Frequency"], accuracy["Density"], accuracy["Scene"]) >= 0.97


def test_wilson_interval():
    low, high = judge.wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-3) and high == pytest.approx(0.9433, abs=1e-3)


def test_model_folders_have_cards():
    assert all((folder / "README.md").exists() for folder in results.MODELS.iterdir() if folder.is_dir())
