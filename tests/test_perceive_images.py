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
from PIL import Image, ImageCms

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


def tiff(pixels: np.ndarray, photometric: int, kind: int = 1, orientation: int = 1, exif: int | None = None) -> bytes:
    """A TIFF by hand of (height, width, samples); kind: 1 unsigned, 2 signed, 3 float; exif: where its EXIF block is said to be."""
    height, width, samples = pixels.shape
    bits, data = 8 * pixels.itemsize, pixels.tobytes()
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric]),
               (273, 4, [8]), (274, 3, [orientation]), (277, 3, [samples]), (278, 4, [height]), (279, 4, [len(data)]),
               (339, 3, [kind] * samples)]  # fmt: skip
    entries += [(34665, 4, [exif])] if exif else []
    lists = b"".join(struct.pack(f"<{len(v)}H", *v) for _, _, v in entries if len(v) > 2)
    end, at, table = 8 + len(data), 8 + len(data), b""
    for tag, code, v in entries:
        content = struct.pack(f"<{len(v)}{'H' if code == 3 else 'L'}", *v)
        if len(v) > 2:
            content, at = struct.pack("<L", at), at + len(content)
        table += struct.pack("<HHL", tag, code, len(v)) + content.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<L", end + len(lists)) + data + lists + struct.pack("<H", len(entries)) + table + bytes(4)


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + jpeg[2:]


def exif_block(*entries: tuple[int, int, int, bytes], data: bytes = b"") -> bytes:
    table = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + data


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
        pytest.param(png(8, 8, 1, 0, b"\0\0" * 8, chunk(b"tRNS", b"\0\0")),
                     (255,) * 3, id="one bit, black transparent"),
        pytest.param(constant_png(16, 0, b"\x90\1", chunk(b"tRNS", b"\x90\1")), (255,) * 3, id="a 16-bit grey that is transparent"),
        pytest.param(constant_png(16, 4, b"\0\0\x33\0"), (204,) * 3, id="16-bit black with alpha 0.2"),
        pytest.param(constant_png(16, 6, b"\0\0\0\0\0\0\x33\0"), (204,) * 3, id="16-bit black colour with alpha 0.2"),
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
        pytest.param(b"\x89PNG\r\n\x1a\n", "is damaged or truncated", id="signature only"),
        pytest.param(b"\xff\xd8\xff", "is damaged or truncated", id="signature of a jpeg only"),
        pytest.param(b"8BPS\0\1" + bytes(200), "is not an image of a known format", id="psd"),
        pytest.param(encoded(PICTURE, "ICO", sizes=[(8, 8)]), "is not an image of a known format", id="ico"),
        pytest.param(encoded(PICTURE, "PPM"), "is not an image of a known format", id="ppm"),
        pytest.param(encoded(PICTURE, "EPS"), "is not an image of a known format", id="eps: no Ghostscript is started"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image of a known format", id="svg"),
        pytest.param(encoded(PICTURE, "PNG")[:-40], "is damaged or truncated", id="truncated png"),
        pytest.param(encoded(PICTURE, "JPEG")[:-60], "is damaged or truncated", id="truncated jpeg"),
        pytest.param(encoded(PICTURE, "BMP")[:-60], "is damaged or truncated", id="truncated bmp"),
        pytest.param(encoded(Image.new("RGB", (1, 1)), "PNG"), "has 1 x 1 pixels; each edge needs at least 8", id="1x1"),
        pytest.param(encoded(Image.new("RGB", (100, 7)), "PNG"), "has 100 x 7 pixels; each edge", id="thin"),
        pytest.param(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "holds signed, float or 32-bit .* save it with 8 bits",
                     id="float tiff"),
        pytest.param(encoded(Image.fromarray(np.full((8, 8), 200, np.int32)), "TIFF"), "holds signed, float or 32-bit", id="int32 tiff"),
        pytest.param(tiff(np.ones((12, 16, 3), np.float32), 2, 3), "is of a kind that Pillow cannot read .unknown pixel mode.: save it",
                     id="float colour tiff"),
        pytest.param(tiff(np.ones((12, 16, 2), np.uint16), 1), "is of a kind that Pillow cannot read .unknown pixel mode.",
                     id="16-bit tiff with alpha"),
        pytest.param(tiff(np.full((12, 16, 3), 4095, np.uint16), 2), "16-bit colour that stays below 4096.* brighten", id="12-bit colour"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, content, message):
    with pytest.raises(ImageError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "image.png") in str(caught.value)


@pytest.mark.parametrize("name", ["absent.png", "absent/x.png", "x\0.png", 300 * "x", "dangling.png", "two\nlines.png", "\udcff.png"])
def test_a_missing_file_is_named_in_one_line_that_can_be_printed(tmp_path, name):
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="there is no image file") as caught:
        read_image(tmp_path / name)
    assert str(caught.value).isprintable() and str(caught.value).encode()


def test_folders_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    kinds = {tmp_path: "is a folder", tmp_path / "pipe.png": "is a pipe", "/dev/null": "is a pipe, a socket or a device"}
    for path, message in kinds.items():
        with pytest.raises(ImageError, match=message) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["two\nlines.png", "\udcff.png", "price $5_a_b$.png", " .png", "-.png", "\u4e2d\u6587.PNG", "%s{}.png"])
def test_odd_names(tmp_path, name):
    assert (read(tmp_path, encoded(PICTURE, "PNG"), name) == GRADIENT).all()
    with pytest.raises(ImageError, match="is damaged or truncated") as caught:
        read(tmp_path, encoded(PICTURE, "PNG")[:-40], name)
    assert str(caught.value).isprintable() and str(caught.value).encode()


def test_the_home_folder_and_links(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    read(tmp_path, encoded(PICTURE, "PNG"))
    (tmp_path / "link").symlink_to(tmp_path / "image.png")
    assert (read_image("~/image.png") == GRADIENT).all() and (read_image(tmp_path / "link") == GRADIENT).all()
    with pytest.raises(FileNotFoundError, match="there is no image file ~nobody-of-that-name/image.png"):
        read_image("~nobody-of-that-name/image.png")


@pytest.mark.parametrize(
    "entry, data",
    [
        ((0x0128, 8, 1, struct.pack("<hh", -1, 0)), b""),  # a resolution unit of -1
        ((0x011A, 10, 1, struct.pack("<I", 38)), struct.pack("<ii", -72, 1)),  # a resolution that is signed
        ((0x0128, 4, 1, struct.pack("<I", 4_000_000_000)), b""),
        ((0x8769, 4, 1, struct.pack("<I", 2_000_000_000)), b""),  # a block that lies outside the file
        ((0x9286, 7, 2**31, struct.pack("<I", 38)), b""),  # a comment of 2 GB
    ],
)
def test_exif_that_cannot_be_written_back_does_not_hinder(tmp_path, entry, data):
    jpeg = encoded(PICTURE, "JPEG", quality=95, subsampling=0)
    turned = exif_block((0x0112, 3, 1, struct.pack("<H", 6)), entry, data=data)
    image = read(tmp_path, with_exif(jpeg, turned), "phone.jpg")
    assert np.abs(image.astype(int) - np.rot90(GRADIENT, -1)).max() <= 6


@pytest.mark.parametrize(
    "block",
    [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", bytes(40), exif_block((0x0112, 2, 4, b"six\0")), exif_block((0x0112, 3, 1, b"\x09")),
     exif_block((0x0112, 12, 1, struct.pack("<I", 9999)))],
)  # fmt: skip
def test_corrupt_exif_is_an_unknown_orientation(tmp_path, block):
    jpeg = encoded(PICTURE, "JPEG", quality=95, subsampling=0)
    assert np.abs(read(tmp_path, with_exif(jpeg, block), "phone.jpg").astype(int) - GRADIENT).max() <= 6
    content = encoded(PICTURE, "PNG")
    assert (read(tmp_path, content[:33] + chunk(b"eXIf", block) + content[33:]) == GRADIENT).all()


@pytest.mark.parametrize(
    "orientation, turned",
    [(1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (5, lambda a: a.swapaxes(0, 1)),
     (6, lambda a: np.rot90(a, -1)), (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)), (8, np.rot90), (0, lambda a: a), (9, lambda a: a)],
)  # fmt: skip
def test_all_orientations(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    files = [encoded(PICTURE, "PNG", exif=exif), encoded(PICTURE, "WEBP", lossless=True, exif=exif)]
    files += [tiff(GRADIENT, 2, 1, orientation), tiff(GRADIENT, 2, 1, orientation, exif=2**31)]
    for content in files:
        assert (read(tmp_path, content) == turned(GRADIENT)).all()


def test_colour_profiles_become_srgb(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"temp", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"temp", b"gXYZ", 1)
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "GRBs".encode("utf-16-be"))
    red, grey = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("L", (16, 16), 100)
    for kind, settings in [("PNG", {}), ("JPEG", {"quality": 95}), ("TIFF", {}), ("WEBP", {"lossless": True})]:
        found = [read(tmp_path, encoded(red, kind, icc_profile=p, **settings)) for p in (swapped, profile, swapped[:300], b"none", None)]
        for image, wanted in zip(found, [(0, 255, 0), *[(255, 0, 0)] * 4], strict=True):
            assert np.abs(image.astype(int) - wanted).max() <= 3, kind
    red.putalpha(0x33)
    assert np.abs(read(tmp_path, encoded(red, "PNG", icc_profile=swapped)).astype(int) - (204, 255, 204)).max() <= 1, "alpha stays"
    assert (read(tmp_path, encoded(grey, "PNG", icc_profile=swapped)) == 100).all(), "a profile for other pixels is ignored"


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("where", [33, -12])  # before and behind the pixels
def test_a_large_profile_or_text_in_a_png_does_not_hinder(tmp_path, name, where):
    squeezed = zlib.compress(bytes(3_000_000))
    data = {b"iTXt": b"a\0\1\0\0\0" + squeezed, b"tEXt": b"a\0" + bytes(70_000_000)}.get(name, b"a\0\0" + squeezed)
    content = encoded(PICTURE, "PNG", exif=CLOCKWISE)
    assert (read(tmp_path, content[:where] + chunk(name, data) + content[where:]) == np.rot90(GRADIENT, -1)).all()


@pytest.mark.parametrize("top, bits", [(255, 8), (1023, 10), (4095, 12)])
def test_fewer_bits_in_16_bit_grey_are_stretched_and_said(tmp_path, top, bits):
    values = np.linspace(0, top, 96).astype(np.uint16).reshape(8, 12)
    for content in (encoded(Image.fromarray(values), "PNG"), tiff(values[..., None], 1)):
        with pytest.warns(UserWarning, match=f"image.png: 16-bit grey that stays below 4096 is read as {bits}-bit grey") as caught:
            image = read(tmp_path, content)
        assert (image == (values >> bits - 8)[..., None]).all() and image.max() == 255
        assert caught[0].filename == __file__, "the warning points at the caller"


def test_16_bit_grey_that_fills_its_range_is_read_in_silence(tmp_path, recwarn):
    values = np.linspace(0, 4096, 96).astype(np.uint16).reshape(8, 12)
    assert (read(tmp_path, encoded(Image.fromarray(values), "PNG")) == (values >> 8)[..., None]).all()
    assert not list(recwarn)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_no_negative(tmp_path, depth):
    shades = (np.arange(96).reshape(8, 12) * 2).astype(depth) * (1 if depth == np.uint8 else 257)
    image = read(tmp_path, tiff(shades[..., None], 0))
    assert (image == 255 - np.arange(96).reshape(8, 12, 1) * 2).all()


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
    twice = encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    last = twice.rindex(b"\xff\xda")
    (tmp_path / "scans.jpg").write_bytes(twice[:-2] + 1000 * twice[last:-2] + twice[-2:])  # 2 s; with 50 million pixels half a minute
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
    assert len(messages) == len(files) == 7
    for path, message in zip(files, messages, strict=True):
        wanted = "takes too long to decode" if path.name == "scans.jpg" else "the limit is 50,000,000: scale it down first"
        assert message.startswith(f"{path} ") and wanted in message
    assert int(memory.split()[1]) < 64 * 1024  # one decoded bomb alone would be 81 MB or more
