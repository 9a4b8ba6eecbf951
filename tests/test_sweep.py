"""Table 3's sweep: the settings, the statistics by hand, and independence of the runs."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import agents, sweep
from rldf_utils.env import RLDFEnv, semantic_landscape
from rldf_utils.grammar import load

BASE = load("base")
TARGET = (1, 2, 1, 2)
SEEN = np.array(list(BASE.states()))


@pytest.fixture(scope="module")
def landscapes():
    return {kind: semantic_landscape(BASE, TARGET) for kind in (1, 2, 3)}


def test_settings_are_the_rows_of_table_3():
    assert len(sweep.SETTINGS) == 18 == len({tuple(s.values()) for s in sweep.SETTINGS})
    assert sweep.SETTINGS[0] == {"agent": "Q", "reward": 1, "epsilon": 0.01}
    assert sweep.SETTINGS[-1] == {"agent": "SARSA", "reward": 3, "epsilon": 0.10}


def test_statistics_by_hand():
    env = RLDFEnv(BASE, TARGET)
    path = [BASE.index(e) for e in ((1, 2, 1, 4), (1, 2, 1, 3), (1, 2, 1, 2), (0, 2, 1, 2))]  # distances 2 1 0 1
    walk = agents.Trajectory(np.array(path), np.zeros(4, int), np.array([0.0, 1.0, 2.0, 1.0]), np.zeros(4, int), np.array([path[0]]))
    row = sweep.statistics(env, walk, SEEN, TARGET)
    assert (row["D_f"], row["D_max"], row["D_min"], row["conv"]) == (1, 2, 0, 1)
    assert row["rho"] == pytest.approx(0.5**0.5) and row["sigma2"] == pytest.approx(0.5)
    assert (row["f_semantic"], row["c_semantic"], row["return"]) == (4, 2, 4.0)


def test_a_run_depends_on_its_setting_and_seed_alone(landscapes):
    together, curves = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(3), steps=30)
    alone, _ = sweep.sweep(BASE, landscapes, SEEN, TARGET, [2], steps=30, settings=sweep.SETTINGS[4:5])
    columns = list(alone.columns)
    same = together.merge(alone, on=columns)
    assert len(same) == 1 and len(together) == 54 and curves[17].shape == (3, 30)
    assert together[together["agent"] == "Random"].groupby("seed")["return"].nunique().eq(1).all()


def test_seeds_matter(landscapes):
    runs, _ = sweep.sweep(BASE, landscapes, SEEN, TARGET, range(10), steps=30, settings=sweep.SETTINGS[:1])
    assert runs["return"].nunique() > 3


def test_against_random_by_hand():
    rows = []
    for setting in sweep.SETTINGS:
        for seed in range(4):
            rows.append(
                {**setting, "seed": seed, "conv": 1 if setting["agent"] == "Q" else int(seed == 0 and setting["agent"] == "Random")}
            )
    table = sweep.against_random(pd.DataFrame(rows), "conv", np.random.default_rng(0)).set_index(["agent", "reward", "epsilon"])
    assert len(table) == 12
    assert table.loc[("Q", 1, 0.01), "difference"] == 0.75 and table.loc[("SARSA", 2, 0.1), "difference"] == -0.25
    assert 0 <= table.loc[("Q", 1, 0.01), "low"] <= 0.75 <= table.loc[("Q", 1, 0.01), "high"] <= 1
