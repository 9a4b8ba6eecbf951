"""Reinforcement Learning from Diffusion Feedback: grammar, environment, agents, search, clone, and what measures them."""

import os

from rldf_utils.results import CACHE

# numba compiles into the package's folder, or fails to import where neither that nor HOME can be written.
os.environ.setdefault("NUMBA_CACHE_DIR", str(CACHE.parent / "numba"))
