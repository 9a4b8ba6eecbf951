"""What several test modules share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def ray_cluster(*nodes: dict) -> Iterator:
    """A local Ray cluster of nodes with these resources."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")  # without the guard by which the notebooks' tests cut the network off
        for attempt in range(3):  # Ray gives a node 30 s to start, which a cold disk can take
            cluster = cluster_utils.Cluster()
            try:
                for node in nodes:
                    cluster.add_node(**node, include_dashboard=False)
                break
            except Exception as error:
                cluster.shutdown()
                if "timed out during startup" not in str(error) or attempt == 2:
                    raise
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="session")
def two_nodes():
    """Two nodes with one core each."""
    with ray_cluster({"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def two_gpus():
    """One node with four cores and two logical GPUs."""
    with ray_cluster({"num_cpus": 4, "num_gpus": 2}) as cluster:
        yield cluster
