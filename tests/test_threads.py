"""Work on a thread for each core: in order, with one core each, and an error ends it."""

import threading

import pytest
import torch

from rldf_utils.threads import spread


def test_several_hands_work_at_once_on_one_core_each_and_in_order():
    together, cores = threading.Barrier(3, timeout=20), torch.get_num_threads()

    def work(k: int) -> tuple[int, int]:
        together.wait()  # nobody goes on before three are there
        return k, torch.get_num_threads()

    assert list(spread(work, [(k,) for k in range(9)], 3)) == [(k, 1) for k in range(9)]
    assert torch.get_num_threads() == cores, "the caller has its cores again"
    assert list(spread(lambda k: threading.get_ident(), [(0,), (1,)], 1)) == [threading.get_ident()] * 2


@pytest.mark.parametrize("hands", [1, 2])
def test_after_an_error_no_further_part_is_begun(hands):
    begun, cores = [], torch.get_num_threads()

    def work(k: int) -> None:
        begun.append(k)
        if k == 3:
            raise FloatingPointError("part 3")

    with pytest.raises(FloatingPointError, match="part 3"):
        list(spread(work, [(k,) for k in range(100)], hands))
    assert len(begun) < 9 and torch.get_num_threads() == cores
