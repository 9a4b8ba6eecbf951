"""What several test modules share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def two_nodes():
    """A local Ray cluster of two nodes with one core each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # without the guard by which the notebooks' tests cut the network off
        for attempt in range(3):  # Ray gives a node 30 s to start, which a cold disk can take
            cluster = cluster_utils.Cluster()
            try:
                for _ in range(2):
                    cluster.add_node(num_cpus=1, include_dashboard=False)
                break
            except Exception as error:
                cluster.shutdown()
                if "timed out during startup" not in str(error) or attempt == 2:
                    raise
        yield cluster
        cluster.shutdown()
