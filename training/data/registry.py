"""What `labelset` knows by name: data sets and pre-trained weights, and how each is had."""

from collections.abc import Callable, Collection
from difflib import get_close_matches

from training.data.attack import load_attack
from training.data.dataset import DataError, LabelledData
from training.data.openclipart import load_openclipart
from training.data.weights import WEIGHTS

DATA_SETS: dict[str, Callable[[int], LabelledData]] = {"attack": load_attack, "openclipart": load_openclipart}

FETCHABLE = (*DATA_SETS, *WEIGHTS)


class UnknownName(DataError):
    """Neither a data set, nor weights, nor a path."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
        super().__init__(f"nothing is known by the name {name!r}: {hint}")


def load(name: str, *, seed: int = 0) -> LabelledData:
    """Load a data set, fetching it when the cache lacks it.

    Raises:
        UnknownName: no data set has that name.
    """
    if name not in DATA_SETS:
        raise UnknownName(name, DATA_SETS)
    return DATA_SETS[name](seed)


def fetch_by_name(name: str) -> str:
    """Bring a data set or weights into the cache.

    Returns:
        One line that says what is there now.

    Raises:
        UnknownName: nothing can be fetched by that name.
    """
    if name in DATA_SETS:
        data = load(name)
        sizes = f"{len(data.train)} train, {len(data.validation)} validation, {len(data.test)} test examples"
        return f"{name}: {sizes}, {len(data.labels)} labels"
    if name in WEIGHTS:
        return f"{name}: {WEIGHTS[name]()}"
    raise UnknownName(name, FETCHABLE)
