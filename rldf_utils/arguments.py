"""Arguments out of range, in the words of this project: the parameter, its value, and the legal ones."""

import math
import operator


def integer(name: str, value, least: int = 0, most: int | None = None) -> int:
    """The value as an int, if it is an integer (of Python or NumPy) from `least` to `most`; else a ValueError."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        legal = f"{least:,} or more" if most is None else f"from {least:,} to {most:,}"
        raise ValueError(f"{name} = {value!r} is not legal; choose an integer, {legal}")
    return number


def real(name: str, value, low: float = -math.inf, high: float = math.inf) -> float:
    """The value as a float, if it is a finite number from `low` to `high`; else a ValueError."""
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high):
        legal = "a finite number" if math.isinf(high) else f"a number from {low:g} to {high:g}"
        raise ValueError(f"{name} = {value!r} is not legal; choose {legal}")
    return number
