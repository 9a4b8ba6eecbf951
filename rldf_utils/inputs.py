"""The inputs of a scale: emoji that the small world drew; at paper scale photographs."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from rldf_utils.results import DATA, setting

#: of scikit-image's own files, which are part of its package: NASA's and SpaceX's are in the public domain, the others CC0
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "astronaut.png")


def sentences() -> pd.Series:
    """What the small world's examples truly show: name -> sentence of the base grammar."""
    true = pd.read_csv(DATA / "examples" / "examples.csv", index_col="file")["prompt"]
    return true.rename(lambda file: file.removesuffix(".png"))


def inputs(scale: str) -> dict[str, Path]:
    """Name -> file of the scale's inputs. At paper scale they are those of the folder RLDF_INPUTS, or `PHOTOGRAPHS`.

    Raises:
        FileNotFoundError: no such folder, no image in it; or scikit-image is not installed.
        ValueError: two images of one name.
    """
    from rldf_utils.images import image_files  # which reads by `perceive`, where notebooks find this function

    files = sorted((DATA / "examples").glob("*.png"))
    if scale == "paper" and (own := setting("INPUTS")):
        files = image_files(Path(own).expanduser())
    elif scale == "paper":
        package = find_spec("skimage")
        files = [Path(package.origin).parent / "data" / name for name in PHOTOGRAPHS] if package else []
    if lacking := [str(path) for path in files if not path.is_file()] or [setting("INPUTS", "scikit-image")] * (not files):
        raise FileNotFoundError(f"there are no photographs: {', '.join(lacking)}. pip install scikit-image, or name a folder: RLDF_INPUTS")
    named = {path.stem: path for path in files}
    if len(named) < len(files):
        raise ValueError(f"RLDF_INPUTS={setting('INPUTS')} has {len(files)} images under {len(named)} names; give each its own")
    return named
