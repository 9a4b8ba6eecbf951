"""A short run of `make fuzz`, and that its judge sees each kind of fault."""

import time

import numpy as np
import pytest
from bench import fuzz

from rldf_utils import results
from rldf_utils.grammar import GrammarError


@pytest.mark.parametrize(("kind", "n"), [("images", 400), ("grammars", 80), ("parameters", 40)])
def test_spoilt_input_ends_in_a_result_or_in_an_error_of_the_kit(kind, n, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", results.RESULTS)  # which the parameters' cases set
    cases = fuzz.fuzz(kind, n, seed=1)
    assert len(cases) == n and (cases["outcome"] == "refused").any() and (cases["outcome"] == "right").any()
    faults = cases[cases["outcome"] == "fault"]
    assert faults.empty, "\n".join(faults["said"].unique())


def a_library_raises():
    np.zeros(3).reshape(2)


def a_wrong_result():
    raise AssertionError("parse is not the inverse")


def too_slow():
    time.sleep(0.05)


def too_large():
    np.ones(2**23).sum()


@pytest.mark.parametrize("case", [a_library_raises, a_wrong_result, too_slow, too_large])
def test_the_judge_sees_each_kind_of_fault(case, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.04 if case is too_slow else 10)
    monkeypatch.setattr(fuzz, "MEMORY", -1 if case is too_large else 2**30)
    assert fuzz.outcome(case)[0] == "fault"


def test_the_kits_own_errors_are_refusals():
    assert fuzz.outcome(lambda: results.choose("SEED", -1, range(3))) == ("refused", "ValueError")
    assert fuzz.outcome(lambda: fuzz.grammar.load("nowhere.cfg")) == ("refused", "FileNotFoundError")
    assert issubclass(GrammarError, ValueError) and fuzz.outcome(lambda: 3)[0] == "right"
