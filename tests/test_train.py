"""Training: resumable with the same result, and its data what the docstrings say. What it made: test_quality.py."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rldf_utils import results
from rldf_utils.tiny import cards, fitting, judge, networks, sampling, train, world


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
    monkeypatch.setattr(networks, "renders", lambda rng, size: (torch.randint(0, 256, (64, 64, 64, 3)), None))
    pipe = networks.diffusion_model(tmp_path, networks.RECIPES[name])
    noise, prompts = torch.randn(16, 64, 8, 8), torch.randn(16, 32, networks.RECIPES[name].text)
    with torch.no_grad():
        out = pipe.unet.eval()(noise, 999, prompts).sample
    share = 1 - (out - noise).square().mean() / noise.square().mean()
    assert share > 0.9 if passes else share < 0.1


def test_schedule():
    rates = [fitting.schedule(k, 1000, 1.0) for k in range(1000)]
    assert rates[0] == 1 / 200 and max(rates) == 1 and rates[500] == 1 and rates[-1] == pytest.approx(1 / 500)


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", train.PLAN)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch, name):
    trainer, options, _ = train.PLAN[name]
    options = options | {"steps": 4, "batch_size": 8}
    trainer(tmp_path / "whole", tmp_path / "whole.pt", **options)
    real, calls = torch.nn.utils.clip_grad_norm_, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", dying)
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(Killed):
        trainer(tmp_path / "parts", tmp_path / "parts.pt", **options)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", real)
    again = trainer(tmp_path / "parts", tmp_path / "parts.pt", **options)
    assert (again["steps"], again["images"], len(again["loss"])) == (4, 32, 4) and again == cards.cost(tmp_path / "parts")
    files = sorted((tmp_path / "whole").rglob("*.safetensors"))
    assert files
    for file in files:
        whole, parts = load_file(file), load_file(tmp_path / "parts" / file.relative_to(tmp_path / "whole"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), file.name


def test_batches_do_not_depend_on_who_makes_them():
    """A worker makes step k's batch as this process does."""
    data = train.partial(train.judge_batch, 0, 4, (3, 4, 5, 6, 7))
    loader = torch.utils.data.DataLoader(fitting._Steps(data), batch_size=None, sampler=range(3, 6), num_workers=1)
    for k, batch in enumerate(loader, 3):
        assert all(torch.equal(one, other) for one, other in zip(batch, data(k), strict=True))


def test_late_in_its_training_the_judge_learns_number():
    names, few = list(judge.HEADS), []
    for k, weight in enumerate((1, 1, 3, 1, 3)):  # one step a stage
        _, labels, weights = train.judge_batch(1, 96, (1, 2, 3, 4, 5), k)
        assert weights.tolist() == [weight if axis in judge.NUMBERS else 1 for axis in names]
        objects = labels[:, names.index("Frequency")]
        assert (objects == 0).any() and objects.max() == 9
        few.append((objects <= 4).float().mean())
    assert max(few[:2]) < min(few[2:]), "large ones have room"


@pytest.mark.parametrize(("objects", "people"), [(0, 0), (3, 2), (7, 0), (4, 3), (9, 6)])
def test_a_crowd_has_its_numbers_apart_on_the_lattice_at_sizes_that_do_not_tell(objects, people):
    sizes = set()
    for seed in range(60):
        layout = sampling.crowd(np.random.default_rng(seed), objects, people)
        taken = np.zeros((64, 64), int)
        for x, y, edge in layout[0] + layout[1]:
            assert x % 8 == y % 8 == 0 and x + edge <= 64 and y + edge <= 64
            taken[y : y + edge, x : x + edge] += 1
            sizes.add(edge)
        assert (len(layout[0]), len(layout[1])) == (objects, people) and taken.max(initial=0) <= 1
    assert objects + people == 0 or sizes >= ({16} if objects + people > 7 else {16, 24})


def test_a_loosened_layout_has_the_words_numbers():
    numbers = {word: set() for word in ("one", "two", "three", "many")}
    for seed in range(200):
        word = list(numbers)[seed % 4]
        objects, people = sampling.loosened(np.random.default_rng(seed), {"Frequency": word, "Density": "two"})
        numbers[word].add(len(objects))
        assert len(people) == 2
    assert numbers == {"one": {1}, "two": {2}, "three": {3}, "many": {5, 6, 7}}


def test_labels_say_what_is_there_and_leave_out_what_does_not_show():
    semantics = sampling.PLAIN | {"Noun": "dog", "Frequency": "two", "Density": "many", "Tone": "dark-skinned"}
    row = dict(zip(judge.HEADS, judge.labels(semantics, 4, 0), strict=True))
    assert (row["Frequency"], row["Density"], row["Tone"], row["Age"]) == (4, 0, -100, -100)
    assert judge.HEADS["Noun"][row["Noun"]] == "dog"
    row = dict(zip(judge.HEADS, judge.labels(semantics | {"Density": "no"}, 0, 3), strict=True))
    assert (row["Frequency"], row["Density"], row["Noun"]) == (0, 3, -100) and judge.HEADS["Tone"][row["Tone"]] == "dark-skinned"


def test_words_of_numbers():
    assert [judge.word("Frequency", n) for n in (0, 1, 2, 3, 4, 5, 9)] == ["no", "one", "two", "three", "four", "many", "many"]
    assert [judge.word("Density", n) for n in (0, 2, 3, 4, 6)] == ["no", "two", "three", "many", "many"]


def test_no_unseen_pair_is_in_the_diffusion_models_training_and_one_in_ten_pairs_is_unseen():
    assert not any(sampling.unseen(s) for s in _samples(2000, seen_only=True))
    pairs = [sampling.unseen({"Noun": n, "Scene": s}) for n in sampling.FULL.axes["Noun"] for s in sampling.FULL.axes["Scene"]]
    assert sum(pairs) == len(pairs) / 10


def test_the_shipped_models_are_those_of_the_plan_with_cards():
    assert sorted(folder.name for folder in results.MODELS.iterdir()) == sorted(train.PLAN)
    for name in train.PLAN:
        card, cost = (results.MODELS / name / "README.md").read_text(), cards.cost(results.MODELS / name)
        assert f"{cost['images']:,} images seen" in card and cost["hardware"] in card and "CC BY-SA 4.0" in card
        assert cost["steps"] == train.PLAN[name][1]["steps"], "the shipped model is the plan's"
