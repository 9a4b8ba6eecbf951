"""The data folder is what its list says."""

import hashlib

from rldf_utils import results


def test_every_file_is_listed_with_its_sha256():
    lines = (results.DATA / "SHA256SUMS").read_text().splitlines()
    listed = {name.strip().removeprefix("./"): digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    files = [path for path in results.DATA.rglob("*") if path.is_file() and not path.name.startswith(".") and path.name != "SHA256SUMS"]
    actual = {path.relative_to(results.DATA).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert listed == {name: digest for name, digest in actual.items() if not name.startswith("raw/")}, "renew it: make data/SHA256SUMS"
