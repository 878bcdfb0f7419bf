import io
import json
import logging

import pytest
from PIL import Image

from training.data.svg import draw_all, draw_svg, png_path, read_drawings

NAMESPACE = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED_SQUARE = f'<svg {NAMESPACE} width="{{}}" height="{{}}"><rect width="50%" height="100%" fill="red"/></svg>'


def picture(content):
    return Image.open(io.BytesIO(draw_svg(content.encode())))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(10, 10, (256, 256)), (20, 10, (256, 128)), (10, 20, (128, 256)), (999, 999, (256, 256))],
)
def test_the_longer_side_has_256_pixels(width, height, size):
    assert picture(RED_SQUARE.format(width, height)).size == size


def test_the_ground_is_white_and_the_drawing_on_it():
    drawn = picture(RED_SQUARE.format(10, 10))
    assert drawn.mode == "RGB"
    assert drawn.getpixel((10, 10)) == (255, 0, 0)
    assert drawn.getpixel((250, 10)) == (255, 255, 255)


@pytest.mark.parametrize("tag", ["text", "svg:text"])
def test_text_is_left_out(tag):
    square = RED_SQUARE.format(10, 10).replace("<svg ", '<svg xmlns:svg="http://www.w3.org/2000/svg" ')
    with_text = square.replace("<rect", f'<{tag} y="9" font-size="9">x<tspan>y</tspan></{tag}><{tag} x="1"/><rect')
    assert draw_svg(with_text.encode()) == draw_svg(square.encode())


def test_a_blank_picture_is_refused():
    with pytest.raises(ValueError, match="blank"):
        draw_svg(f'<svg {NAMESPACE} width="10" height="10"><rect width="5" height="5" fill="white"/></svg>'.encode())


def test_a_file_that_the_picture_refers_to_is_not_read(tmp_path):
    Image.new("RGB", (10, 10), "blue").save(tmp_path / "secret.png")
    refers = f'<image width="10" height="10" xlink:href="{(tmp_path / "secret.png").as_uri()}"/></svg>'
    drawn = picture(RED_SQUARE.format(10, 10).replace("</svg>", refers))
    assert drawn.getpixel((10, 10)) == (255, 0, 0)


BROKEN = "<svg"
ENTITIES = f'<!DOCTYPE svg [<!ENTITY a "{"a" * 1000}"><!ENTITY b "{"&a;" * 1000}">]><svg {NAMESPACE}>&b;</svg>'
# Each level draws the one below twice: 2^60 squares in all.
ENDLESS = f"""<svg {NAMESPACE} width="10" height="10"><defs><rect id="u0" width="5" height="5"/>{
    "".join(f'<g id="u{n}"><use xlink:href="#u{n - 1}"/><use xlink:href="#u{n - 1}"/></g>' for n in range(1, 61))
}</defs><use xlink:href="#u60"/></svg>"""


def test_an_endless_picture_is_given_up(tmp_path):
    (tmp_path / "endless.svg").write_text(ENDLESS)
    draw_all(tmp_path, [tmp_path / "endless.svg"], tmp_path)
    assert read_drawings(tmp_path)["endless.svg"] is not None
    assert not (tmp_path / "endless.png").exists()


@pytest.fixture
def folders(tmp_path):
    svgs, pngs = tmp_path / "svg", tmp_path / "png"
    (svgs / "animals").mkdir(parents=True)
    pngs.mkdir()
    (svgs / "animals/cat.svg").write_text(RED_SQUARE.format(10, 10))
    (svgs / "broken.svg").write_text(BROKEN)
    (svgs / "entities.svg").write_text(ENTITIES)
    return svgs, pngs


def test_what_cannot_be_drawn_is_left_out_and_told(folders, caplog):
    svgs, pngs = folders
    with caplog.at_level(logging.WARNING):
        draw_all(svgs, sorted(svgs.rglob("*.svg")), pngs)
    drawings = read_drawings(pngs)
    assert drawings["animals/cat.svg"] is None
    assert "ValueError" in drawings["broken.svg"]
    assert "ValueError" in drawings["entities.svg"]
    assert [path.relative_to(pngs) for path in pngs.rglob("*.png")] == [
        png_path(pngs, "animals/cat.svg").relative_to(pngs)
    ]
    assert "2 of 3 pictures" in caplog.text


def test_pictures_that_are_there_are_not_drawn_again(folders):
    svgs, pngs = folders
    drawn_before = png_path(pngs, "animals/cat.svg")
    drawn_before.parent.mkdir()
    drawn_before.write_bytes(b"drawn before")
    draw_all(svgs, [svgs / "animals/cat.svg"], pngs)
    assert drawn_before.read_bytes() == b"drawn before"
    assert json.loads((pngs / "drawings.json").read_text()) == {"animals/cat.svg": None}
