"""Progress bars that stay short where every line is kept."""

from tqdm import tqdm


class Bar(tqdm):
    """tqdm's bar; where it is kept, as in a notebook or a log, a line is written no sooner than after 2 s and 2 % more time.

    So a run of 84 hours leaves some 450 lines, and one of a minute at most 30.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **{"mininterval": 2, "miniters": 1} | options)

    def update(self, n: float = 1) -> bool | None:
        shown = super().update(n)
        if shown and not self.fp.isatty():
            self.mininterval = max(self.mininterval, 0.02 * (self._time() - self.start_t))
        return shown
