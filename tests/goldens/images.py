"""What do the processors of transformers see in an image file, by way of Pillow?

Small files of every kind, kept in `images/`, and `images.json`: their pixels, what they are in other sizes, and what a
vision tower is given.
"""

import base64
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.image_transforms import convert_to_rgb
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import golden

HERE = Path(__file__).resolve().parent / "images"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP = {"crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 32}
CLIP |= {"image_processor_type": "CLIPImageProcessorPil", "image_mean": MEAN, "image_std": STD}
SIGLIP = {"do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3}
SIGLIP |= {"image_processor_type": "SiglipImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SIGLIP |= {"rescale_factor": 1 / 255, "size": {"height": 32, "width": 32}}
# Sizes that files are brought to: much smaller, much larger, only one side, the same, and some where the order matters.
SIZES = [("wide.png", 9, 5), ("wide.png", 30, 41), ("tall.png", 20, 7), ("rgba.png", 40, 17), ("rgba.png", 24, 17)]
SIZES += [("tall.png", 33, 30), ("tall.png", 17, 38), ("tall.png", 17, 39)]
BICUBIC, BILINEAR = 3, 2


def make(folder):
    """Makes the files and what is known of them anew."""
    print("images")
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    write_files()
    decoded = [decode(path) for path in sorted(HERE.iterdir())]
    resized = [resize(*entry, resample) for entry in SIZES for resample in (BICUBIC, BILINEAR)]
    prepared = [prepare(settings, name) for settings in (CLIP, SIGLIP) for name in ("wide.png", "tall.png")]
    lists = {"decoded": decoded, "resized": resized, "prepared": prepared}
    text = ",\n".join(f"{json.dumps(name)}: {golden.rows(rows)}" for name, rows in lists.items())
    (HERE.parent / "images.json").write_text("{\n" + text + "\n}\n")


def open_image(name):
    """Opens a file as a user would."""
    return Image.open(HERE / name)


def picture(width, height):
    """Waves, a ramp and some noise, the same in every run."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    waves = [128 + 100 * np.sin(across / 3 + down / 9), 128 + 100 * np.cos(down / 4), (255 - 6 * across + down) % 256]
    noise = np.random.default_rng(7).normal(0, 9, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, -1) + noise, 0, 255).astype("u1"))


def write_files():
    """Writes a file for every kind of pixel that Pillow converts in its own way."""
    across, down = np.meshgrid(np.arange(67), np.arange(40))
    planes = [(3 * across + 5 * down) % 256, (across * down // 4) % 256, (255 - 6 * across + down) % 256]
    put("wide.png", Image.fromarray(np.stack(planes, -1).astype("u1")))
    across, down = np.meshgrid(np.arange(20), np.arange(45))
    put("tall.png", Image.fromarray(((across * down // 4) % 256).astype("u1")))
    small = picture(24, 17)
    alpha = Image.fromarray((np.arange(24 * 17) % 256).reshape(17, 24).astype("u1"))
    clear = small.copy()
    clear.putalpha(alpha)
    put("rgba.png", clear)
    put("grey-alpha.png", clear.convert("LA"))
    put("one-bit.png", small.convert("1"))
    put("palette.png", small.quantize(20), transparency=3)
    put("palette-4.png", small.quantize(4))
    put("animated.png", small, save_all=True, append_images=[small.rotate(90)])
    put("palette.gif", small.quantize(20), transparency=3)
    put("animated.gif", small.quantize(20), save_all=True, append_images=[small.rotate(90).quantize(10)])
    put("lossy.webp", small, quality=60)
    put("lossy-alpha.webp", clear, quality=60)
    put("lossless.webp", clear, lossless=True)
    put("animated.webp", small, save_all=True, append_images=[small.rotate(90)], lossless=True)
    put("small.jpg", small, quality=80)
    put("half.jpg", small, quality=80, subsampling=1)
    put("whole.jpg", small, quality=95, subsampling=0)
    put("progressive.jpg", small, quality=80, progressive=True)
    put("grey.jpg", small.convert("L"), quality=80)
    put("cmyk.jpg", small.convert("CMYK"), quality=80)
    turned = Image.Exif()
    turned[0x0112] = 6
    put("turned.jpg", small, quality=80, exif=turned)
    put_png("grey-2.png", 9, 5, 2, 0, 3)
    put_png("grey-4.png", 9, 5, 4, 0, 5)
    put_png("grey-16.png", 9, 5, 16, 0, 18, small=True)
    put_png("rgb-16.png", 9, 5, 16, 2, 54)
    put_png("rgba-16.png", 9, 5, 16, 6, 72)
    put_png("short-palette.png", 9, 5, 8, 3, 9, extra=[(b"PLTE", bytes(range(15)))], most=8)
    put_png("key-colour.png", 9, 5, 8, 2, 27, extra=[(b"tRNS", bytes(6))])
    put_png("gamma.png", 9, 5, 8, 2, 27, extra=[(b"gAMA", struct.pack(">I", 20000))])


def put(name, image, **options):
    """Saves an image."""
    image.save(HERE / name, **options)


def put_png(name, width, height, depth, kind, row, extra=(), most=256, small=False):
    """Writes a PNG that Pillow itself would not write; with `small` its high bytes are mostly zero."""
    values = np.random.default_rng(2).integers(0, most, (height, row)).astype("u1")
    if small:
        values[:, ::2] = values[:, ::2] > 200
    rows = b"".join(b"\0" + bytes(line) for line in values)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in chunks]
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def decode(path):
    """What a processor sees in a file: transparency is painted over white."""
    image = Image.open(path)
    rgb = convert_to_rgb(image, return_numpy=True)
    print(f"    {path.name} {image.mode} {image.size} {path.stat().st_size} bytes")
    return {"file": path.name, "width": image.width, "height": image.height, "rgb": coded(rgb)}


def resize(name, width, height, resample):
    """What Pillow brings a file to."""
    rgb = Image.fromarray(convert_to_rgb(open_image(name), return_numpy=True)).resize((width, height), resample)
    return {"file": name, "width": width, "height": height, "resample": resample, "rgb": coded(np.array(rgb))}


def prepare(settings, name):
    """What a processor makes of a file."""
    kind = CLIPImageProcessorPil if "CLIP" in settings["image_processor_type"] else SiglipImageProcessorPil
    pixels = kind(**settings)(open_image(name), return_tensors="np")["pixel_values"][0]
    return {"settings": settings, "file": name, "pixels": golden.packed(pixels)}


def coded(values):
    """The base64 of bytes."""
    return base64.b64encode(values.tobytes()).decode()
