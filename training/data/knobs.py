"""Settings of a data set within its name: `synthetic?classes=50&labels=5`."""

import inspect
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl

from training.data.dataset import DataError, LabelledData


def bind_knobs(name: str, loader: Callable[..., LabelledData]) -> Callable[[int], LabelledData]:
    """Set the loader's keyword-only parameters to what `name` says after its question mark; the seed is left open.

    Raises:
        DataError: the loader has no such setting, or the value is of another type than the setting's default.
    """
    base, _, query = name.partition("?")
    parameters = inspect.signature(loader).parameters.values()
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
    }
    values = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise DataError(f"{base} has no setting {key!r}; its settings are: {', '.join(defaults) or 'none'}")
        kind = type(defaults[key])
        try:
            values[key] = kind(text)
        except ValueError:
            raise DataError(f"{base}: {key} must be of type {kind.__name__}, got {text!r}") from None
    return partial(loader, **values)
