"""Progress bars where every line is kept."""

import io

import tqdm.std

from rldf_utils.progress import Bar


def lines(seconds: int, monkeypatch) -> list[str]:
    """What a bar of one step a second leaves."""
    clock, kept = [0.0], io.StringIO()
    monkeypatch.setattr(tqdm.std, "time", lambda: clock[0])
    with Bar(total=seconds, file=kept) as bar:
        for _ in range(seconds):
            clock[0] += 1
            bar.update(1)
    return kept.getvalue().strip().split("\r")


def test_a_run_of_84_hours_leaves_some_hundred_lines_and_its_end(monkeypatch):
    found = lines(84 * 3600, monkeypatch)
    assert 300 < len(found) < 500 and len("".join(found)) < 60_000
    assert found[-1].startswith("100%") and "302400/302400" in found[-1]


def test_a_run_of_a_minute_is_seen_every_two_seconds(monkeypatch):
    assert 28 <= len(lines(60, monkeypatch)) <= 32


def test_steps_that_a_loop_takes_are_seen_as_well(monkeypatch):
    clock, kept = [0.0], io.StringIO()
    monkeypatch.setattr(tqdm.std, "time", lambda: clock[0])
    for _ in Bar(range(100, 5000), initial=100, total=5000, file=kept):
        clock[0] += 1
    found = kept.getvalue().strip().split("\r")
    assert 100 < len(found) < 300 and "5000/5000" in found[-1] and " 100/5000" in found[0]
