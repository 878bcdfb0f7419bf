"""Pages: templates filled in, every value escaped, every picture inlined."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from training.report.drawing import Figures
from training.report.hardest import data_uri


def render(template: str, **values: Any) -> str:
    """Fill in a template of this folder."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # Labels and texts are data: what looks like a tag is shown, not obeyed.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["picture"] = picture
    return environment.get_template(template).render(**values)


def picture(figures: Figures) -> Markup:
    """A figure in the colours that the reader's system asks for."""
    light, dark = (data_uri("image/png", png) for png in (figures.light, figures.dark))
    return Markup(
        '<picture><source srcset="{}" media="(prefers-color-scheme: dark)"><img src="{}" alt="{}"></picture>'
    ).format(dark, light, figures.chart.title)
