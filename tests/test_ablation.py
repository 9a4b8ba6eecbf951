"""Ablation: the third pass, who draws what, how it is counted, and what is claimed of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import UNet2DConditionModel

from rldf_utils import ablation, ablation_charts, fid, generate
from rldf_utils.ablation import AWAY, CONCEPTS, CONDITIONS, NEGATIVE, REMEDIES, RENDERS
from rldf_utils.grammar import GrammarError
from rldf_utils.tiny import judge, sampling, world

STYLE, THING = CONCEPTS["style"], CONCEPTS["thing"]
PROMPTS = [f"an oil painting of one {noun} and no people in a farm" for noun in ("banana", "dog")]


@pytest.fixture(scope="module", params=["tiny-sd-v1", "tiny-sd-v2"])
def name(request):
    return request.param


# The remedies.


def test_weight_0_is_the_plain_model_bit_for_bit(name):
    plain, away = generate.Diffusers(name, steps=3), ablation.Away(name, STYLE.text, 0.0, steps=3)
    assert (plain(PROMPTS, [1, 2]) == away(PROMPTS, [1, 2])).all()


def test_weight_1_is_the_concept_as_negative_prompt(name):
    negative, away = generate.Diffusers(name, steps=3, negative=STYLE.text), ablation.Away(name, STYLE.text, 1.0, steps=3)
    one, two = (model(PROMPTS, [1, 2]).astype(int) for model in (negative, away))
    assert np.abs(one - two).max() <= 1, "to rounding"
    assert np.abs(one - generate.Diffusers(name, steps=3)(PROMPTS, [1, 2])).max() > 20, "and not the plain model's"


def test_the_pass_is_the_equation():
    """u' = (1 - w) u + w e, on a stand-in UNet whose prediction is the mean of its text; the prompt's prediction stays."""

    def forward(self, sample, timestep, text, **options):
        return (text.mean((1, 2)).view(-1, 1, 1, 1) + 0 * sample,)

    away = ablation.Away("tiny-sd-v1", STYLE.text, 2.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNet2DConditionModel, "forward", forward)
        text = torch.stack([torch.full((32, 128), value) for value in (3.0, 3.0, 7.0, 7.0)])
        out = away.pipe.unet.forward(torch.zeros(4, 64, 8, 8), 1, text)[0]
    e = away.pipe.encode_prompt(STYLE.text, "cpu", 1, False)[0].mean()
    assert torch.allclose(out[:2], (1 - 2.5) * 3 + 2.5 * e) and (out[2:] == 7).all()


def test_what_is_drawn_away_has_a_cache_of_its_own():
    plain = generate.Diffusers("tiny-sd-v1")
    models = [*ablation.remedies(plain, STYLE.text).values(), ablation.Away("tiny-sd-v1", STYLE.text, 3.0), plain]
    assert len({model.fingerprint for model in models}) == 4
    assert ablation.remedies(plain, STYLE.text)[AWAY].fingerprint == models[1].fingerprint


def test_remedies_keep_the_models_settings_and_negative_prompt():
    plain = generate.Diffusers("tiny-sd-v1", steps=3, guidance=3.0, negative="a forest")
    negative, away = ablation.remedies(plain, "a kite").values()
    assert (negative.negative, away.negative, away.concept, away.weight) == ("a forest, a kite", "a forest", "a kite", 2.0)
    assert all((model.steps, model.guidance) == (3, 3.0) for model in (negative, away))


# Sentences.


def test_the_concepts_are_words_of_their_axis():
    for concept in CONCEPTS.values():
        named = concept.word, concept.generic, *concept.neighbours
        assert set(named) <= set(sampling.FULL.axes[concept.axis]) and len(set(named)) == len(named)
    assert {world.nouns()[noun][1] for noun in THING.neighbours} == {world.nouns()[THING.word][1]} and len(THING.neighbours) > 5
    one, two = (sampling.FULL.axes["Noun"].index(word) for word in (THING.word, THING.generic))
    assert abs(one - two) == 1, "side by side on the axis"


def test_only_the_concepts_axis_changes_and_only_said_sentences_say_it(tmp_path):
    contexts = [sampling.PLAIN | {"Scene": scene} for scene in sampling.FULL.axes["Scene"][:10]]
    plain = generate.Cache(generate.Diffusers("tiny-sd-v1"), tmp_path)
    for concept in CONCEPTS.values():
        plan = ablation.plan(plain, concept, contexts, "tiny")
        assert tuple(plan) == CONDITIONS and [len(part) for _, part in plan.values()] == [10] * 9
        for condition, (model, semantics) in plan.items():
            said = {words[concept.axis] for words in semantics} == {concept.word}
            assert said == (condition in ("said", *REMEDIES)) and (concept.word in {w[concept.axis] for w in semantics}) == said
            rest = [{axis: word for axis, word in words.items() if axis != concept.axis} for words in semantics]
            assert rest == [{axis: word for axis, word in words.items() if axis != concept.axis} for words in contexts[: len(rest)]]
            assert (model is plain) == (condition in ablation.SETS) and model.folder.parent == tmp_path
        for remedy in REMEDIES:
            assert plan[f"{remedy}, rest"][1] == plan["left out"][1] and plan[f"{remedy}, neighbours"][1] == plan["neighbours"][1]
            assert len({plan[part][0].fingerprint for part in (remedy, f"{remedy}, rest", f"{remedy}, neighbours")}) == 1
        assert plan[NEGATIVE][0].fingerprint == plan[f"{NEGATIVE}, neighbours"][0].fingerprint != plan[AWAY][0].fingerprint


def test_at_paper_scale_the_same_encodings_say_the_papers_words():
    words = ablation.spoken("paper")
    assert words.shape == sampling.FULL.shape and ablation.spoken("tiny").text == sampling.FULL.text
    encoding = sampling.FULL.encode(sampling.PLAIN | {"Style": STYLE.word, "Noun": THING.word, "Frequency": "two"})
    assert words.surface(encoding).startswith("a Van Gogh painting of two Snoopies and")
    with pytest.raises(GrammarError):
        words.parse(sampling.FULL.surface(encoding))
    plain, contexts = generate.Cache(generate.Diffusers("tiny-sd-v1")), [sampling.PLAIN] * 2
    away = [ablation.plan(plain, concept, contexts, "paper")[AWAY][0].model.concept for concept in CONCEPTS.values()]
    assert away == ["a Van Gogh painting of", "a photo of one Snoopy"]


# How it is counted.


def test_a_picture_shows_the_concept_and_is_right_or_not():
    wanted = [sampling.PLAIN | {"Noun": "clock"}] * 3 + [sampling.PLAIN | {"Noun": "football", "Style": "a silhouette of"}]
    seen = [wanted[0], wanted[0] | {"Noun": THING.word}, wanted[0] | {"Scene": "a farm"}, wanted[3]]

    class Eyes:
        def __call__(self, pictures):
            return seen

        def features(self, pictures):
            return np.asarray(pictures, np.float32)

    found = ablation.looked(THING, Eyes(), np.array([[0, 0], [3, 4], [1, 0], [9, 9]]), wanted, np.array([[0, 0], [9, 8]], np.float32))
    assert found["shows"].tolist() == [False, True, False, False] and found["distance"].tolist() == [0, 5, 1, 1]
    assert found["right"].tolist()[:3] == [1, 0, 1] and np.isnan(found["right"][3]), "a ball in silhouette is no noun"
    axes = len(world.visible(wanted[0])) - 1
    assert found["others"].tolist() == pytest.approx([1, 1, 1 - 1 / axes, 1])


def frame(shows: int, n: int, right: float = 1.0, others: float = 1.0) -> pd.DataFrame:
    """The first `shows` of n pictures show the concept."""
    return pd.DataFrame({"shows": np.arange(n) < shows, "right": right, "others": others, "distance": 1.0})


def frames(n: int = 600, **changed) -> dict:
    shown = {"said": n, **dict.fromkeys(REMEDIES, n // 4), RENDERS[0]: n}
    made = {condition: frame(shown.get(condition, 0), n) for condition in (*CONDITIONS, *RENDERS)} | changed
    return {(condition, "m"): part for condition, part in made.items()}


def verdicts(made: dict) -> dict[str, str]:
    return ablation.claims(made, np.random.default_rng(0)).set_index("claim")["verdict"].to_dict()


def test_what_was_left_out_does_not_show_and_is_not_erased():
    found = verdicts(frames())
    assert found["left out, it does not show"] == "reproduced" and found["erased: said again, it does not show"] == "contradicted"
    assert found["what is kept is as right as with the word"] == "reproduced"
    assert found[f"said, {NEGATIVE} keeps it away"] == "contradicted"
    assert found[f"leaving out harms neighbours less than {AWAY}: their word"] == "contradicted", "it harmed none"


def test_a_leak_or_a_harm_turns_the_verdict():
    found = verdicts(frames(**{"left out": frame(60, 600, others=0.9), f"{AWAY}, neighbours": frame(0, 600, right=0.5)}))
    assert found["left out, it does not show"] == "contradicted"
    assert found["what is kept is as right as with the word"] == "contradicted"
    assert found[f"leaving out harms neighbours less than {AWAY}: their word"] == "reproduced"


def test_the_base_rate_is_taken_off_and_few_pictures_decide_nothing():
    leak = frame(60, 600)
    assert verdicts(frames(**{"left out": leak}))["left out, it does not show"] == "contradicted"
    seen_in_renders_too = frames(6000, **{"left out": frame(600, 6000), RENDERS[1]: frame(660, 6000)})
    assert verdicts(seen_in_renders_too)["left out, it does not show"] == "reproduced"
    few = ablation.claims(frames(40), np.random.default_rng(0)).set_index("claim").loc["left out, it does not show"]
    assert few["verdict"] == "undecided" and few["n to decide"] > few["n"] == 40


def test_pairs_are_of_one_model_and_context_also_where_the_remedy_has_fewer():
    one = {(c, m): frame(0, 4) for c in (*CONDITIONS, *RENDERS) for m in ("a", "b")}
    for m, values in (("a", [1.0, 0, 1, 0]), ("b", [0.0, 1, 0, 1])):
        one["neighbours", m] = one["neighbours", m].assign(right=values)
        for remedy in REMEDIES:
            one[f"{remedy}, neighbours", m] = frame(0, 2).assign(right=values[:2])
    both = ablation.pooled(one)
    assert len(both["neighbours", "both"]) == 8 and list(both)[0][1] == "both"
    found = ablation.claims(both, np.random.default_rng(0)).set_index(["claim", "model"])
    row = found.loc[f"leaving out harms neighbours less than {AWAY}: their word", "both"]
    assert (row["value"], row["low"], row["high"], row["n"]) == (0, 0, 0, 4), "unpaired, the interval would be wide"


def test_the_table_has_a_word_right_only_where_the_sentence_says_another():
    table = ablation.rows(frames(), np.random.default_rng(0)).set_index("condition")
    assert table["in-domain"].isna().to_dict() == {c: c in ("said", *REMEDIES, RENDERS[0]) for c in table.index}
    assert (table["shows low"] <= table["shows"]).all() and (table["shows"] <= table["shows high"]).all()
    assert len(ablation.readable(table.reset_index().assign(concept="style"))) == 11


@pytest.mark.parametrize(("k", "n", "l", "m", "low", "high"), [
    (56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090), (10, 10, 0, 20, 0.6791, 1.0),
    (0, 500, 0, 1000, -0.0038, 0.0076)])  # fmt: skip
def test_newcombes_interval(k, n, l, m, low, high):  # noqa: E741
    """The first three: Newcombe (1998), table II, method 10."""
    assert ablation.difference(k, n, l, m) == pytest.approx((k / n - l / m, low, high), abs=1e-4)


def test_kid_of_twins_is_not_below_0_on_average():
    """Rows i of both sets belong together; the plain estimate compares twins, and is too low by their likeness."""
    rng, plain, ours = np.random.default_rng(1), [], []
    for _ in range(60):
        x = rng.standard_normal((40, 8))
        y = x + 0.1 * rng.standard_normal((40, 8))
        plain.append(fid.kernel(x, y).value)
        ours.append(ablation.kernel(x, y))
    values = np.array([found.value for found in ours])
    assert abs(values.mean()) < 3 * values.std() / 60**0.5 and np.mean(plain) < -3 * np.std(plain) / 60**0.5
    assert np.mean([abs(found.value) <= found.half for found in ours]) >= 0.9


def test_kid_is_fids_if_no_rows_are_twins():
    """Against rows of another order the mean over all i != j is the unbiased estimate, but for the n pairs left out."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((400, 8)), 0.3 + rng.standard_normal((400, 8))
    assert ablation.kernel(x, y).value == pytest.approx(fid.kernel(x, y).value, rel=0.02)
    assert ablation.kernel(x, y).half == pytest.approx(fid.kernel(x, y).half, rel=0.2)
    assert ablation.kernel(x, x).value == 0 == ablation.kernel(x, x).half


def test_distances_say_to_what_and_pool_the_models():
    rng = np.random.default_rng(0)
    features = {(c, m): rng.standard_normal((20, 5)) + 2 * (c == AWAY) for c in CONDITIONS for m in ("a", "b")}
    found = ablation.distances(features).set_index(["condition", "model"])
    assert found["to"].unstack().loc[["said", "left out", AWAY, f"{AWAY}, neighbours", f"{AWAY}, rest"], "a"].tolist() == [
        "its other half", "said", "said", "neighbours", "left out"]  # fmt: skip
    assert found.loc[AWAY, "low"].min() > 0 > found.loc["said", "low"].max() and found.loc[(AWAY, "both"), "n"] == 40
    assert "neighbours" not in found.index.get_level_values(0), "leaving out draws no neighbour anew"


# In pictures.


def test_the_figures_draw_every_condition_and_frame_what_should_not_show():
    table = pd.concat([ablation.rows(frames(40), np.random.default_rng(0)).assign(concept=what) for what in CONCEPTS])
    figure = ablation_charts.chart(table)
    assert len(figure.axes) == 6 and len(figure.axes[0].get_yticklabels()) == 11
    picture = np.zeros((8, 8, 3), np.uint8)
    parts = {condition: (picture, "kite", condition in ("said", AWAY)) for condition in CONDITIONS}
    red = [ax.spines["left"].get_visible() for ax in ablation_charts.gallery([("a label", parts)]).axes]
    assert red == [condition == AWAY for condition in CONDITIONS], "a concept that was asked for has no frame"


def test_the_judge_tells_both_concepts_in_renders():
    eyes, rng = judge.Judge(), np.random.default_rng(2)
    for concept in CONCEPTS.values():
        wanted = [sampling.sample_semantics(rng, mix=(0, 0, 0)) | {concept.axis: word} for word in (concept.word, concept.generic) * 40]
        seen = eyes(np.stack([world.render(words, sampling.HELD_OUT + i) for i, words in enumerate(wanted)]))
        shown = np.array([words[concept.axis] == concept.word for words in seen])
        assert shown[::2].mean() >= 0.85 and shown[1::2].mean() <= 0.05
