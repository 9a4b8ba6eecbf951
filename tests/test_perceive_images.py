"""Users' image files: every kind is either converted as documented, to checked pixel values, or refused with a reason."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from rldf_utils.perceive import ImageError, read_image
from rldf_utils.results import ROOT

GRADIENT = np.stack([*np.meshgrid(np.arange(16) * 15, np.arange(12) * 20), np.full((12, 16), 77)], 2).astype(np.uint8)
PICTURE = Image.fromarray(GRADIENT)  # 16 wide, 12 high: a rotation shows
FRAMES = [Image.new("RGB", (12, 12), colour) for colour in ("red", "green", "blue")]
CLOCKWISE = Image.Exif()
CLOCKWISE[0x0112] = 6  # to be shown turned by 90 degrees clockwise


def encoded(image: Image.Image, kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand, for what Pillow cannot write; each row begins with its filter byte, 0."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def constant_png(depth: int, colour: int, pixel: bytes, extra: bytes = b"") -> bytes:
    return png(8, 8, depth, colour, (b"\0" + pixel * 8) * 8, extra)


def read(tmp_path, content: bytes, name: str = "image.png") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(content)
    return read_image(path)


@pytest.mark.parametrize(("kind", "settings"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_pixels_back(tmp_path, kind, settings):
    image = read(tmp_path, encoded(PICTURE, kind, **settings))
    assert (image.dtype, image.shape) == (np.uint8, (12, 16, 3))
    assert (image == GRADIENT).all()


def test_jpeg_is_near(tmp_path):
    image = read(tmp_path, encoded(PICTURE, "JPEG", quality=95, subsampling=0), "image.jpg")
    assert np.abs(image.astype(int) - GRADIENT).max() <= 6


def test_the_name_does_not_matter(tmp_path):
    assert (read(tmp_path, encoded(PICTURE, "PNG"), "holiday.jpeg") == GRADIENT).all()


@pytest.mark.parametrize(
    ("content", "pixel"),
    [
        pytest.param(constant_png(8, 0, b"\x33"), (0x33,) * 3, id="grey"),
        pytest.param(constant_png(16, 0, b"\x12\xff"), (0x12,) * 3, id="16-bit grey: the high byte"),
        pytest.param(constant_png(16, 2, b"\x12\x34\x80\xff\xff\xff"), (0x12, 0x80, 0xFF), id="16-bit colour: the high bytes"),
        pytest.param(constant_png(8, 2, b"\x01\x02\x03"), (1, 2, 3), id="colour"),
        pytest.param(constant_png(8, 6, b"\xc8\0\0\xff"), (200, 0, 0), id="opaque"),
        pytest.param(constant_png(8, 6, b"\xc8\0\0\0"), (255, 255, 255), id="transparent: white"),
        pytest.param(constant_png(8, 6, b"\xc8\0\0\x33"), (244, 204, 204), id="alpha 0.2: 0.2 of 200 and 0.8 of white"),
        pytest.param(constant_png(8, 4, b"\0\x33"), (204,) * 3, id="grey with alpha 0.2"),
        pytest.param(constant_png(8, 0, b"\x33", chunk(b"tRNS", b"\0\x33")), (255,) * 3, id="a grey that is transparent"),
        pytest.param(constant_png(8, 2, b"\1\2\3", chunk(b"tRNS", b"\0\1\0\2\0\3")), (255,) * 3, id="a colour that is transparent"),
        pytest.param(
            constant_png(8, 3, b"\1", chunk(b"PLTE", bytes([9, 9, 9, 10, 20, 30]))), (10, 20, 30), id="palette"
        ),
        pytest.param(
            constant_png(8, 3, b"\1", chunk(b"PLTE", bytes([9, 9, 9, 0, 0, 0])) + chunk(b"tRNS", b"\xff\x33")),
            (204,) * 3,
            id="palette, black with alpha 0.2",
        ),
        pytest.param(encoded(Image.new("1", (8, 8), 1), "PNG"), (255,) * 3, id="one bit"),
    ],
)  # fmt: skip
def test_conversions(tmp_path, content, pixel):
    image = read(tmp_path, content)
    assert image.shape == (8, 8, 3)
    assert (image == pixel).all()


def test_cmyk_jpeg(tmp_path):
    image = read(tmp_path, encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), "print.jpg")
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 4


def test_lab_tiff_is_colour(tmp_path):
    assert read(tmp_path, encoded(Image.new("LAB", (8, 8), (0, 128, 128)), "TIFF")).max() <= 2  # L = 0 is black


def test_exif_orientation_is_applied(tmp_path):
    image = read(tmp_path, encoded(PICTURE, "PNG", exif=CLOCKWISE))
    assert (image == np.rot90(GRADIENT, -1)).all()
    image = read(tmp_path, encoded(PICTURE, "JPEG", exif=CLOCKWISE, quality=95, subsampling=0), "phone.jpg")
    assert np.abs(image.astype(int) - np.rot90(GRADIENT, -1)).max() <= 6


def test_exif_orientation_is_applied_to_16_bit_grey(tmp_path):
    grey = np.arange(96).reshape(8, 12)
    image = read(tmp_path, encoded(Image.fromarray((grey * 256 + 99).astype(np.uint16)), "PNG", exif=CLOCKWISE))
    assert (image == np.rot90(grey, -1)[..., None]).all()


def test_first_page_of_a_tiff(tmp_path):
    assert (read(tmp_path, encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:])) == (255, 0, 0)).all()


def test_a_phones_jpeg_with_a_second_picture_inside(tmp_path):
    image = read(tmp_path, encoded(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:], quality=95), "phone.jpg")
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused_and_still_pictures_are_not(tmp_path, kind):
    with pytest.raises(ImageError, match=r"is animated \(3 frames\); save the one frame"):
        read(tmp_path, encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]))
    settings = {"lossless": True} if kind == "WEBP" else {}
    assert (read(tmp_path, encoded(FRAMES[2], kind, **settings)) == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"a note, not a picture\n" * 20, "is not an image of a known format .PNG, JPEG", id="text"),
        pytest.param(b"", "is not an image of a known format", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "is not an image of a known format", id="signature only"),
        pytest.param(b"8BPS\0\1" + bytes(200), "is not an image of a known format", id="psd"),
        pytest.param(encoded(PICTURE, "ICO", sizes=[(8, 8)]), "is not an image of a known format", id="ico"),
        pytest.param(encoded(PICTURE, "PPM"), "is not an image of a known format", id="ppm"),
        pytest.param(encoded(PICTURE, "EPS"), "is not an image of a known format", id="eps: no Ghostscript is started"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image of a known format", id="svg"),
        pytest.param(encoded(PICTURE, "PNG")[:-40], "is damaged or truncated", id="truncated png"),
        pytest.param(encoded(PICTURE, "JPEG")[:-60], "is damaged or truncated", id="truncated jpeg"),
        pytest.param(encoded(PICTURE, "BMP")[:-60], "is damaged or truncated", id="truncated bmp"),
        pytest.param(constant_png(8, 0, b"\x33", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000)))),
                     "is damaged or truncated: Decompressed data too large", id="bomb of text"),
        pytest.param(encoded(Image.new("RGB", (1, 1)), "PNG"), "has 1 x 1 pixels; each edge needs at least 8", id="1x1"),
        pytest.param(encoded(Image.new("RGB", (100, 7)), "PNG"), "has 100 x 7 pixels; each edge", id="thin"),
        pytest.param(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "holds 32-bit pixels.* save it with 8 bits",
                     id="float tiff"),
        pytest.param(encoded(Image.fromarray(np.full((8, 8), 200, np.int32)), "TIFF"), "holds 32-bit pixels", id="int32 tiff"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, content, message):
    with pytest.raises(ImageError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "image.png") in str(caught.value)


@pytest.mark.parametrize("name", ["absent.png", "."])
def test_missing_file_and_folder(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="there is no image file"):
        read_image(tmp_path / name)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it repairs
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_damage_is_an_image_error_or_an_image(tmp_path, kind):
    """Random damage to files: nothing but `ImageError` may come out."""
    whole, rng, refused = encoded(PICTURE, kind), random.Random(kind), 0
    for _ in range(150):
        damaged = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.2 else whole)
        for _ in range(rng.choice([1, 2, 8]) if damaged else 0):
            damaged[rng.randrange(min(len(damaged), rng.choice([64, 4000])))] = rng.randrange(256)
        try:
            image = read(tmp_path, bytes(damaged))
            assert image.dtype == np.uint8 and image.shape[2] == 3
        except ImageError:
            refused += 1
    assert refused > 10


def zeros_png(path, edge: int) -> None:
    """A grey PNG of zeros, written row by row: its file is a thousandth of its pixels."""
    squeeze, rows = zlib.compressobj(1), bytes((edge + 1) * 100)
    data = b"".join(squeeze.compress(rows) for _ in range(edge // 100)) + squeeze.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    zeros_png(tmp_path / "400M.png", 20_000)
    zeros_png(tmp_path / "81M.png", 9_000)  # under Pillow's own limit
    assert (tmp_path / "400M.png").stat().st_size < 3_000_000
    (tmp_path / "header.png").write_bytes(png(2**31 - 1, 2**31 - 1, 8, 0, b""))
    gif = bytearray(encoded(PICTURE, "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    (tmp_path / "header.gif").write_bytes(gif)
    bmp = bytearray(encoded(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    (tmp_path / "header.bmp").write_bytes(bmp)
    jpeg = bytearray(encoded(PICTURE, "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65_500, 65_500)
    (tmp_path / "header.jpg").write_bytes(jpeg)
    code = """
import resource, sys
from rldf_utils.perceive import ImageError, read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_image(path)
        print("READ", path)
    except ImageError as error:
        print(error)
print("KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    files = sorted(tmp_path.iterdir())
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, files)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    *messages, memory = process.stdout.splitlines()
    assert len(messages) == len(files) == 6
    for path, message in zip(files, messages, strict=True):
        assert message.startswith(f"{path} has ")
        assert "the limit is 50,000,000: scale it down first" in message
    assert int(memory.split()[1]) < 64 * 1024  # one decoded bomb alone would be 81 MB or more
