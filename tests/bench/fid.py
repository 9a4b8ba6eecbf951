"""Speed of FID's and KID's closed forms against the formulas of torch-fidelity, scipy (clean-fid) and subsets: `make bench`.

Contestants take the same features, float64, d = 2048, in one process and thread, in turn; CPU seconds, median of the rounds.
Their values must agree.
"""

import os
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is loaded; waiting threads would count as work

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from cleanfid.fid import frechet_distance, kernel_distance  # noqa: E402
from torch_fidelity.metric_fid import fid_statistics_to_metric  # noqa: E402

from rldf_utils import fid, results  # noqa: E402

D = 2048


def statistics(x: np.ndarray) -> dict:
    return {"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)}


def torch_fidelity(x: np.ndarray, y: np.ndarray) -> float:
    return fid_statistics_to_metric(statistics(x), statistics(y), verbose=False)["frechet_inception_distance"]


def clean_fid(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(*statistics(x).values(), *statistics(y).values())


def subsets(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_distance(x, y, num_subsets=100, max_subset_size=1000)


TASKS = {
    "FID, n = 3000": (3000, 2, {"ours": fid.frechet, "torch-fidelity's eigenvalues": torch_fidelity, "clean-fid's sqrtm": clean_fid}, 1e-6),
    "FID, n = 500": (500, 2, {"ours": fid.frechet, "torch-fidelity's eigenvalues": torch_fidelity, "clean-fid's sqrtm": clean_fid}, 1e-2),
    "KID, n = 2000": (2000, 2, {"ours": lambda x, y: fid.kernel(x, y).value, "100 subsets of 1000 (clean-fid)": subsets}, 5e-2),
}


def main() -> None:
    rng, rows = np.random.default_rng(0), []
    mix = rng.normal(size=(D, D)) / D**0.5
    for task, (n, rounds, contestants, tolerance) in TASKS.items():
        x, y = (np.maximum(rng.normal(size=(n, D)) @ mix + shift, 0) for shift in (0.0, 0.2))
        for turn in range(rounds + 1):  # the first warms up
            values = {}
            for name, contestant in contestants.items():
                begun = time.process_time()
                values[name] = contestant(x, y)
                if turn:
                    rows.append({"task": task, "contestant": name, "cpu_seconds": time.process_time() - begun, "value": values[name]})
            assert all(abs(v / values["ours"] - 1) < tolerance for v in values.values()), values
    table = pd.DataFrame(rows)
    summary = table.groupby(["task", "contestant"], sort=False)["cpu_seconds"].median().reset_index()
    ours = summary["task"].map(summary[summary["contestant"] == "ours"].set_index("task")["cpu_seconds"])
    summary["ours_is_times_faster"] = summary["cpu_seconds"] / ours
    folder = results.RESULTS / "bench"
    results.write(folder / "fid.csv", table.to_csv(index=False))
    text = f"{__doc__}\n{summary.to_markdown(index=False, floatfmt='.3g')}\n\n{results.provenance()['machine']}\n"
    results.write(folder / "fid.md", text)
    print(text)


if __name__ == "__main__":
    main()
