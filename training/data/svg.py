"""Draw SVG files as PNG pictures, many at once. Knows nothing of labels.

The files are untrusted: they may be broken, endless or refer to other files. resvg draws them: one self-contained wheel
that needs no library of the system, refuses endless files by a limit on their nodes, and opens no other file. One that
cannot be drawn is left out, and `drawings.json` says why.
"""

import io
import json
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import resvg_py
from PIL import Image
from tqdm import tqdm

LONGER_SIDE_PIXELS = 256

_log = logging.getLogger(__name__)


def draw_all(svg_folder: Path, svgs: list[Path], png_folder: Path) -> None:
    """Draw `svgs` (paths under `svg_folder`) under the same paths, ending in .png, in `png_folder`.

    PNGs that are there already are kept. At the end `drawings.json` says what came of each.
    """
    names = [str(svg.relative_to(svg_folder)) for svg in svgs]
    # spawn: the parent may run threads (torch, progress bars), which a forked child would not survive.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        drawings = pool.map(partial(_draw, svg_folder, png_folder), names, chunksize=16)
        results = dict(zip(names, tqdm(drawings, total=len(names), desc="draw", unit="picture"), strict=True))
    failures = sum(failure is not None for failure in results.values())
    if failures:
        _log.warning("%d of %d pictures cannot be drawn; drawings.json says why", failures, len(results))
    (png_folder / "drawings.json").write_text(json.dumps(results, indent=0), encoding="utf-8")


def read_drawings(png_folder: Path) -> dict[str, str | None]:
    """By the path of each SVG file, why it could not be drawn: None where it could."""
    drawings: dict[str, str | None] = json.loads((png_folder / "drawings.json").read_text(encoding="utf-8"))
    return drawings


def png_path(png_folder: Path, name: str) -> Path:
    """Where the picture of the SVG file `name` is."""
    return png_folder / Path(name).with_suffix(".png")


def draw_svg(svg: bytes) -> bytes:
    """Draw one SVG on white, its longer side `LONGER_SIDE_PIXELS`, as PNG.

    Text is left out: it would look different, or not be there at all, with the fonts of each machine.

    Raises:
        ValueError: the file is broken, or nothing is to be seen.
    """
    drawn = resvg_py.svg_to_bytes(
        svg_string=svg.decode("utf-8", errors="replace"),
        width=LONGER_SIDE_PIXELS,  # only one side can be given without distorting the picture
        dpi=96,
        background="white",
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(drawn)) as image:
        picture = image.convert("RGB")
    picture.thumbnail((LONGER_SIDE_PIXELS, LONGER_SIDE_PIXELS))
    if picture.getextrema() == ((255, 255),) * 3:
        raise ValueError("the picture is blank")
    png = io.BytesIO()
    picture.save(png, format="PNG")
    return png.getvalue()


def _draw(svg_folder: Path, png_folder: Path, name: str) -> str | None:
    """Draw the file `name`, unless that is done; None, or the reason why it cannot be drawn."""
    target = png_path(png_folder, name)
    if not target.is_file():
        try:
            png = draw_svg((svg_folder / name).read_bytes())
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".partial")
        unfinished.write_bytes(png)
        unfinished.rename(target)
    return None
