"""Images of any size, mode and depth: what they become, and what is said of it."""

import io

import numpy as np
import pytest

from feint.data.images import from_images, resized
from feint.errors import BadInput, DamagedFile, MixedSizes
from feint.signature import Pixels

Image = pytest.importorskip("PIL.Image")
RGB, GREY = Pixels((3, 4, 6)), Pixels((1, 4, 6))


def content(image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(width=6, height=4):
    return Image.fromarray(np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3) * 3)


def read(*images, domain=None, **options):
    x, domain, remarks = from_images([(f"image {i}", image) for i, image in enumerate(images)], domain, **options)
    return x, domain, {remark.phrase: remark for remark in remarks}


def test_plain_colours_are_read_as_they_are():
    x, domain, remarks = read(content(colours()))
    assert domain == RGB
    assert np.array_equal(x[0], np.asarray(colours()).transpose(2, 0, 1))
    assert remarks == {}


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_frames_the_first_counts_which_is_said(kind):
    frames = [colours(), colours().transpose(Image.Transpose.ROTATE_180)]
    options = {"lossless": True} if kind == "WEBP" else {}
    several = content(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    x, _, remarks = read(several, content(frames[0], kind, **options))
    assert np.array_equal(x[0], x[1])
    assert remarks["images framed"].text().startswith("1 of 2 images have several frames or pages")


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "1", "LA", "L"])
def test_any_mode_becomes_what_the_model_takes(mode):
    image = colours().convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    x, _, remarks = read(content(image, kind), domain=RGB)
    assert np.array_equal(x[0], np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    assert ("images alpha" in remarks) == (mode in ("RGBA", "LA"))
    assert {remark.values["count"] for remark in remarks.values()} <= {"1"}
    assert ("images grey" in remarks) == (mode in ("1", "LA", "L"))
    x, _, remarks = read(content(image, kind), domain=GREY)
    assert x.shape == (1, 1, 4, 6)
    assert ("images to grey" in remarks) == (mode in ("P", "RGBA", "CMYK"))


def test_sixteen_bits_are_divided_by_257():
    levels = np.array([[0, 257, 257 * 100, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        x, domain, remarks = read(content(Image.fromarray(levels), kind))
        assert x[0, 0].tolist() == [[0, 1, 100, 255]]
        assert domain.shape == (1, 1, 4)
        assert "divided by 257" in remarks["images 16 bit"].text()
    with pytest.raises(BadInput, match=r"image 0 with values .*grey levels from 0 to 65535"):
        read(content(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"))


def test_grey_images_among_colours_get_three_channels():
    x, domain, remarks = read(content(colours()), content(colours().convert("L")))
    assert domain == RGB
    assert (x[1, 0] == x[1, 2]).all()
    assert "1 of 2 images are grey" in remarks["images grey"].text()
    x, domain, _ = read(content(colours().convert("L")))
    assert domain == GREY


def test_a_photo_is_turned_as_the_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    x, _, _ = read(content(colours(), "PNG", exif=exif))
    assert np.array_equal(x[0], np.asarray(colours().rotate(-90, expand=True)).transpose(2, 0, 1))


def test_images_of_other_sizes_are_scaled_as_a_whole_and_said():
    wide = np.zeros((4, 20, 3), np.uint8)
    wide[:, 14:] = 255
    x, _, remarks = read(content(colours()), content(Image.fromarray(wide)), domain=RGB)
    assert x[1, 0, 0, 0] == 0
    assert x[1, 0, 0, 5] == 255  # a centre square would have lost both sides
    text = remarks["images scaled"].text()
    assert "1 of 2 images have another size, like 20×4, and were scaled as a whole to 6×4" in text


def test_centre_squares_are_cut_for_named_sets():
    x, domain, _ = read(content(colours(9, 4)), content(colours(4, 4)), square=4)
    assert domain.shape == (3, 4, 4)
    assert np.array_equal(x[1], np.asarray(colours(4, 4)).transpose(2, 0, 1))


def test_several_sizes_need_one():
    with pytest.raises(MixedSizes, match=r"several sizes \(6×4, 4×6, …\).*NAME@WIDTHxHEIGHT"):
        read(content(colours()), content(colours()), content(colours(4, 6)))


@pytest.mark.parametrize("kind", ["truncated JPEG", "truncated PNG", "text", "nothing", "damaged PNG"])
def test_a_damaged_image_is_named(kind):
    whole = {"truncated JPEG": content(colours(64, 64), "JPEG"), "truncated PNG": content(colours(64, 64))}
    broken = {"text": b"not an image", "nothing": b"", "damaged PNG": content(colours())[:30] + b"\xff" * 60}
    data = whole[kind][: len(whole[kind]) // 2] if kind in whole else broken[kind]
    with pytest.raises(DamagedFile, match=r"image 1 .*a readable image") as caught:
        read(content(colours()), data)
    assert "\n" not in str(caught.value)


def test_no_image_and_no_image_domain_are_refused():
    with pytest.raises(BadInput, match="no images"):
        read()
    with pytest.raises(BadInput, match=r"shape \(30,\)"):
        read(content(colours()), domain=Pixels((30,)))


def test_arrays_are_resized_like_files():
    images = np.asarray(colours()).transpose(2, 0, 1)[None]
    x, remarks = resized(images, Pixels((1, 2, 3)))
    assert x.shape == (1, 1, 2, 3)
    assert {remark.phrase for remark in remarks} == {"images to grey", "images scaled"}


def test_levels_of_twelve_bits_are_refused_where_no_image_has_more():
    dark, bright = (Image.fromarray(np.full((4, 4), level, np.uint16)) for level in (4095, 4096))
    with pytest.raises(BadInput, match="highest level is 4,095"):
        from_images([("dark.png", dark), ("darker.png", dark)])
    x, _, _ = from_images([("dark.png", dark), ("bright.png", bright)])
    assert x.shape == (2, 1, 4, 4)
