"""Classifiers: both stems, the augmentation, a training that learns, and its determinism."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from rldf_utils import classify

QUICK = classify.Recipe("imagenet", 32, 6, batch=16, rate=2e-3, decay=0.05, optimizer="adamw")


def stripes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that a mirror image does not confuse: lines across, lines down."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    wave = 60 * np.sign(np.sin(np.arange(32) * 1.2 + rng.uniform(0, 6, (n, 1))))
    pixels = np.where(labels[:, None, None] == 0, wave[:, :, None], wave[:, None, :]) + 120 + rng.normal(0, 10, (n, 32, 32))
    return pixels[..., None].repeat(3, -1).clip(0, 255).astype(np.uint8), labels


def test_stems():
    theirs = resnet18(num_classes=7)
    assert [p.shape for p in classify.network(7).parameters()] == [p.shape for p in theirs.parameters()]
    x = torch.zeros(2, 3, 32, 32)
    shapes = {}
    for stem in classify.STEMS:
        model = classify.network(7, stem).eval()
        model.layer1.register_forward_hook(lambda _, __, out, stem=stem: shapes.update({stem: tuple(out.shape)}))
        assert model(x).shape == (2, 7)
    assert shapes == {"imagenet": (2, 64, 8, 8), "cifar": (2, 64, 32, 32)}, "sixteen times as many positions"
    with pytest.raises(ValueError, match="stem 'vit' is not known; choose one of imagenet, cifar"):
        classify.network(7, "vit")


def test_augment_crops_and_mirrors():
    """A ramp stays a ramp: its slope is the crop's width, its sign the mirror; over many, both vary as said."""
    ramp = torch.linspace(-1, 1, 64).expand(2000, 3, 64, 64)
    out = classify.augment(ramp, 64, np.random.default_rng(0), 0.35)
    slope = (out[:, 0, 32, -8] - out[:, 0, 32, 7]) / (ramp[:, 0, 32, -8] - ramp[:, 0, 32, 7])
    assert 0.45 < (slope > 0).float().mean() < 0.55
    assert 0.5 < slope.abs().min() < 0.6 and 0.98 < slope.abs().max() < 1.01
    assert abs(out.mean()) < 0.05, "crops are centred on the average"
    assert torch.equal(out, classify.augment(ramp, 64, np.random.default_rng(0), 0.35))
    assert classify.augment(ramp[:4], 32, np.random.default_rng(0)).shape == (4, 3, 32, 32)


def test_training_learns_and_repeats():
    x, y = stripes(128)
    model = classify.train(x, y, 2, QUICK, seed=3)
    test, truth = stripes(100, 1)
    predicted = classify.predict(model, test, 32)
    assert classify.accuracy(predicted, truth) > 0.9
    by_sgd = classify.train(x, y, 2, replace(QUICK, optimizer="sgd", rate=0.05, epochs=1))
    assert not torch.equal(by_sgd.fc.weight, model.fc.weight)
    first, again, other = (classify.train(x, y, 2, replace(QUICK, epochs=1), seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(optimizer, monkeypatch, tmp_path):
    (x, y), recipe = stripes(96), replace(QUICK, optimizer=optimizer, width=16)
    state = torch.get_rng_state()
    whole, real, steps = classify.train(x, y, 2, recipe, seed=3).state_dict(), classify.augment, []
    assert torch.equal(torch.get_rng_state(), state), "the seed is the training's own"
    monkeypatch.setattr(classify, "OFTEN", 0)

    def stop(*args):
        steps.append(1)
        if len(steps) == 26:  # 6 an epoch: in the fifth
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(classify, "augment", stop)
    with pytest.raises(KeyboardInterrupt):
        classify.train(x, y, 2, recipe, seed=3, keep=tmp_path / "a.pt")
    resumed = classify.train(x, y, 2, recipe, seed=3, keep=tmp_path / "a.pt").state_dict()
    assert len(steps) == 26 + 12 and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_progressive_resizing_trains_at_both_sizes(monkeypatch):
    x, y = stripes(32)
    sizes, real = [], classify.augment
    monkeypatch.setattr(classify, "augment", lambda pixels, size, *rest: sizes.append(size) or real(pixels, size, *rest))
    classify.train(x, y, 2, replace(QUICK, size=48, early=32, epochs=3))
    assert sizes == [32] * 4 + [48] * 2


def test_predict_scales_and_does_not_depend_on_the_batch():
    model = classify.network(3).eval()
    x, _ = stripes(10)
    assert (classify.predict(model, x, 48, batch=4) == classify.predict(model, x, 48)).all()


def test_accuracy():
    assert classify.accuracy([1, 2, 2, 0], [1, 2, 0, 0]) == 0.75


@pytest.mark.parametrize("labels", [[0], [0, 5], [0, -1]])
def test_bad_labels_are_refused(labels):
    with pytest.raises(ValueError, match="cannot train 2 classes"):
        classify.train(np.zeros((2, 8, 8, 3), np.uint8), np.array(labels), 2, QUICK)


@pytest.mark.parametrize("stem", classify.STEMS)
def test_narrow_network_is_a_quarter_in_every_layer(stem):
    full, narrow = classify.network(7, stem).state_dict(), classify.network(7, stem, width=16).state_dict()
    assert list(full) == list(narrow)
    for name in full:
        for wide, slim in zip(full[name].shape, narrow[name].shape, strict=True):
            assert slim == wide // 4 or slim == wide in (1, 3, 7), name
    assert not any(narrow[f"layer{k}.{b}.bn2.weight"].any() for k in range(1, 5) for b in range(2)), "each block begins as the identity"
    spread = narrow["layer4.1.conv2.weight"].std()
    assert abs(spread / (2 / (9 * 128)) ** 0.5 - 1) < 0.02, "He's, by fan out"
