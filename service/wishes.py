"""What a caller wishes of label sets: how many labels the model is to give, and which of those he wants to be told."""

import difflib
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from model.labels import LabelSet
from model.predictor import LabelSets
from model.session import Sparsity
from service.catalogue import ServedModel
from service.errors import UnknownLabel


def _number(value: Any) -> Any:
    # For pydantic true is 1.
    if isinstance(value, bool):
        raise ValueError(f"Input should be a number, got {str(value).lower()}")
    return value


# Python's integers have no end, and a message would repeat them.
_Int = Annotated[int, BeforeValidator(_number), Field(ge=-(2**63), lt=2**63)]
_Float = Annotated[float, BeforeValidator(_number)]


class WishFields(BaseModel):
    """The wishes that a request may state; each holds for all of its inputs."""

    label_count: _Int | None = Field(
        default=None,
        description="Number of labels wanted, 0 to the number of classes; the model decides when left out. The least "
        "probable class is never among several: asking for all of them gives all but one.",
    )
    sparsity_rate: _Float | None = Field(
        default=None, description="Fraction of zeros wanted among the classes, 0 to 1; excludes label_count."
    )
    max_labels: _Int | None = Field(
        default=None, ge=0, description="Of a larger label set only so many, the most probable."
    )
    min_probability: _Float | None = Field(
        default=None, ge=0, le=1, description="Of a label set only labels that are as probable."
    )
    only: list[str] | None = Field(default=None, max_length=10_000, description="Of a label set only these labels.")
    exclude: list[str] | None = Field(default=None, max_length=10_000, description="Of a label set all but these.")

    def wish(self) -> "Wish":
        """What is wished."""
        return Wish(
            sparsity=Sparsity(self.label_count, self.sparsity_rate),
            max_labels=self.max_labels,
            min_probability=self.min_probability or 0.0,
            only=None if self.only is None else frozenset(self.only),
            exclude=frozenset(self.exclude or ()),
        )


@dataclass(frozen=True)
class Wish:
    """How sparse the label sets of a request are to be, and what of them is told.

    The sparsity goes into the model, and shapes the probabilities. The rest is left out afterwards: the probabilities
    of the labels that stay are those of the whole label set.
    """

    sparsity: Sparsity
    max_labels: int | None = None
    min_probability: float = 0.0
    only: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()

    def check(self, model: ServedModel) -> None:
        """Refuse what a model cannot grant.

        Raises:
            InvalidSparsity: a number of labels or a rate out of range, or both.
            UnknownLabel: `only` or `exclude` names a label that the model does not have.
        """
        self.sparsity.validate(model.predictor.session.class_count)
        for name, labels in (("only", self.only or ()), ("exclude", self.exclude)):
            for label in sorted(labels):
                if label not in model.predictor.label_positions:
                    near = difflib.get_close_matches(label, model.manifest.labels, n=3)
                    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                    raise UnknownLabel(
                        f"{name} must hold labels of {model.name}, got {label[:80]!r}{hint}", labels=near
                    )

    def told(self, label_sets: LabelSets) -> LabelSets:
        """What of an answer its caller wants to be told."""
        if isinstance(label_sets, LabelSet):
            return self._told(label_sets)
        return {word: self._told(label_set) for word, label_set in label_sets.items()}

    def _told(self, label_set: LabelSet) -> LabelSet:
        labels = tuple(
            scored
            for scored in label_set.labels
            if scored.probability >= self.min_probability
            and scored.label not in self.exclude
            and (self.only is None or scored.label in self.only)
        )
        return replace(label_set, labels=labels[: self.max_labels])
