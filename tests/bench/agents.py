"""Speed of the agents' compiled loop against its peers and its limit: `make bench`.

Every contestant does Q-learning, epsilon 0.1, episodes of at most 200 steps, in one process, in turn, round after round; the
figure of merit is steps of environment and update per second of CPU time. The C loop must hold the same Q, bit for bit.
"""

import ctypes
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rldf_utils import agents, grammar, plots, results, sweep
from rldf_utils.env import RLDFEnv
from rldf_utils.readings import DEFAULT, PRINTED

HERE, ROUNDS, RUN = Path(__file__).parent, 7, 20_000
ENV = RLDFEnv(grammar.load("base"), target=(1, 2, 1, 2), max_steps=200, reading=PRINTED)  # as in all former measurements
EPSILON, ALPHA, GAMMA = 0.1, DEFAULT.alpha, DEFAULT.gamma


def compiled(steps: int) -> np.ndarray:
    """Ours: `sweep.run`, in runs of RUN steps that go on with the same Q."""
    agent = agents.QLearning(480, 8, EPSILON)
    for part in range(steps // RUN):
        sweep.run(ENV, agent, RUN, part)
    return agent.q


def c(steps: int) -> np.ndarray:
    """qlearning.c, gcc -O3, with numpy's own random streams."""

    def stream(rng):
        state = rng.bit_generator.state["state"]
        words = [state[k] >> shift & (2**64 - 1) for k in ("state", "inc") for shift in (0, 64)]
        return (ctypes.c_uint64 * 4)(*words)

    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p)

    agent, double, long = agents.QLearning(480, 8, EPSILON), ctypes.c_double, ctypes.c_long
    choices = stream(agent.rng)
    for part in range(steps // RUN):
        out, paid = np.empty((3, RUN), np.int32), np.empty(RUN)
        LIBRARY.q_learning(
            pointer(agent.q), 480, 8, choices, stream(np.random.default_rng(part)), pointer(ENV.transitions),
            pointer(ENV.rewards), pointer(ENV.ends), ENV.target, double(EPSILON), double(ALPHA), double(GAMMA),
            ENV.max_steps, long(RUN), pointer(out), pointer(paid),
        )  # fmt: skip
    return agent.q


def python(steps: int) -> np.ndarray:
    """The quickest loop that we could write without a compiler: lists, local names, no calls but the generator's."""
    q, moves = agents.QLearning(480, 8).q.tolist(), ENV.transitions.tolist()
    rewards, ends, target, uniform = ENV.rewards[0].tolist(), ENV.ends.tolist(), ENV.target, random.random
    ended, t = True, 0
    for _ in range(steps):
        if ended:
            state, t = int(uniform() * 479), 0
            state += state >= target
        row = q[state]
        u = uniform()
        action = int(u / EPSILON * 8) if u < EPSILON else row.index(max(row))
        state = moves[state][action]
        ended = ends[state]
        row[action] += ALPHA * (rewards[state] + (0.0 if ended else GAMMA * max(q[state])) - row[action])
        t += 1
        if t == 200:
            ended = True
    return np.array(q)


def gymnasium(steps: int) -> np.ndarray:
    """Gymnasium's CliffWalking and a numpy table, as its tutorials have it."""
    env, rng = gym.make("CliffWalking-v1", max_episode_steps=200), np.random.default_rng(0)
    q = np.zeros((env.observation_space.n, env.action_space.n))
    state, _ = env.reset(seed=0)
    for _ in range(steps):
        action = env.action_space.sample() if rng.random() < EPSILON else int(np.argmax(q[state]))
        arrived, reward, terminated, truncated, _ = env.step(action)
        q[state, action] += ALPHA * (reward + GAMMA * (not terminated) * np.max(q[arrived]) - q[state, action])
        state = env.reset()[0] if terminated or truncated else arrived
    return q


def main() -> None:
    global LIBRARY
    contestants = {"ours (numba)": (compiled, 5_000_000), "pure Python": (python, 200_000), "Gymnasium, numpy": (gymnasium, 30_000)}
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which("cc"):
            library = f"{folder}/qlearning.so"
            flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
            subprocess.run(["cc", *flags, "-o", library, HERE / "qlearning.c"], check=True)
            LIBRARY = ctypes.CDLL(library)
            contestants["C, -O3"] = (c, 5_000_000)
        else:
            print("no C compiler `cc` on the path: without the C loop")
        rows, tables = [], {}
        for turn in range(ROUNDS + 1):  # the first warms up: compilation, caches
            for name, (contestant, steps) in contestants.items():
                begun = time.process_time()
                tables[name] = contestant(steps)
                if turn:
                    rows.append({"contestant": name, "round": turn, "steps_per_cpu_second": steps / (time.process_time() - begun)})
    if "C, -O3" in tables:
        assert (tables["C, -O3"] == tables["ours (numba)"]).all(), "the C loop is another loop"
    table = pd.DataFrame(rows)
    rate = table.groupby("contestant", sort=False)["steps_per_cpu_second"].median()
    summary = pd.DataFrame({"steps_per_cpu_second": rate, "ours_is_times": rate["ours (numba)"] / rate})
    folder = results.RESULTS / "bench"
    results.write(folder / "agents.csv", table.round(0).to_csv(index=False))
    plots.use_style()
    figure, ax = plt.subplots(figsize=(6, 2.4))
    ax.barh(list(summary.index), summary["steps_per_cpu_second"], color="#0072b2")
    for y, (value, times) in enumerate(summary.to_numpy()):
        ax.text(value * 1.15, y, f"{value:.1e}   ours: x {times:.3g}", va="center")
    ax.invert_yaxis()
    ax.set(xscale="log", xlim=(1e4, 5e9), xlabel="Q-learning steps per CPU second, median of 7 rounds")
    plots.save_figure(figure, folder, "figure_agents")
    results.write(folder / "agents.md", f"{__doc__}\n{summary.to_markdown(floatfmt='.3g')}\n\n{results.provenance()['machine']}\n")
    print(summary.to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
