import pytest
from PIL import Image

from training.data.dataset import Example, label_counts
from training.data.openclipart import PACKAGE, find_svgs, merge_copies, read_keywords, read_openclipart
from training.data.packages import fetch_package
from training.data.svg import draw_all

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><metadata><rdf:RDF><cc:Work><dc:subject><rdf:Bag>
<rdf:li> {} </rdf:li><rdf:li></rdf:li><rdf:li>Salt &amp; pepper</rdf:li>
</rdf:Bag></dc:subject><dc:title><rdf:li>no keyword</rdf:li></dc:title></cc:Work></rdf:RDF></metadata></svg>"""


def write_svg(folder, name, keyword="cat"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SVG.format(keyword))
    return path


def write_png(folder, name, colour):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), colour).save(path)
    return path


def test_keywords_are_those_of_the_subject_in_lower_case():
    assert read_keywords(SVG.format("Cat").encode()) == {"cat", "salt & pepper"}


def test_a_file_without_a_subject_has_no_keywords():
    assert read_keywords(b"<svg/>") == set()


def test_a_file_that_is_not_utf8_has_its_keywords_read():
    assert "cat" in read_keywords(SVG.format("cat").encode() + b"\xff")


def test_links_and_the_machine_made_series_are_no_pictures(tmp_path):
    cat = write_svg(tmp_path, "animals/cat.svg")
    write_svg(tmp_path, "shapes/stars/star_1.svg")
    circle = write_svg(tmp_path, "shapes/circle.svg")
    (tmp_path / "link.svg").symlink_to(cat)
    assert find_svgs(tmp_path) == [cat, circle]


def test_an_example_is_a_drawn_file_with_its_keywords_less_those_not_about_it(tmp_path):
    write_svg(tmp_path / "svg", "animals/cat.svg", "unsorted")
    write_svg(tmp_path / "svg", "animals/broken.svg")
    (tmp_path / "drawings.json").write_text('{"animals/cat.svg": null, "animals/broken.svg": "ParseError"}')
    [example] = read_openclipart(tmp_path / "svg", tmp_path)
    assert example == Example(("salt & pepper",), image=tmp_path / "animals/cat.png", group="animals")


def test_copies_become_one_example_with_the_labels_of_all(tmp_path):
    red, other, copy = (
        write_png(tmp_path, f"{name}.png", colour) for name, colour in [("a", "red"), ("b", "blue"), ("c", "red")]
    )
    examples = [
        Example(("fruit",), image=red, group="food"),
        Example(("sky",), image=other, group="weather"),
        Example(("apple", "fruit"), image=copy, group="plants"),
    ]
    assert merge_copies(examples) == [Example(("apple", "fruit"), image=red, group="food"), examples[1]]


@pytest.mark.slow
def test_pictures_of_the_real_package_are_drawn_and_labelled(tmp_path):
    svg_folder = fetch_package(PACKAGE) / "usr/share/openclipart/svg"
    svgs = find_svgs(svg_folder)
    assert len(svgs) == 6080
    cats = [path for path in svgs if path.parent.name == "housecats"]
    draw_all(svg_folder, cats, tmp_path)
    examples = read_openclipart(svg_folder, tmp_path)
    assert len(examples) == len(cats) > 5
    assert label_counts(examples)["mammal"] > len(cats) / 2
    assert {example.group for example in examples} == {"animals/mammals/housecats"}
    for example in examples:
        with Image.open(example.image) as image:
            assert max(image.size) == 256
