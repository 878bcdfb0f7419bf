"""What a caller wishes of label sets: how many labels the model is to give, and which of those he wants to be told."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from model.errors import LabelsetError
from model.labels import LabelSet
from model.predictor import LabelSets
from model.session import LET_THE_MODEL_DECIDE, Sparsity
from service.catalogue import ServedModel
from service.errors import InvalidRequest, UnknownLabel


def _number(value: Any) -> Any:
    # For pydantic true is 1.
    if isinstance(value, bool):
        raise ValueError(f"Input should be a number, got {str(value).lower()}")
    return value


# Python's integers have no end, and a message would repeat them.
_Int = Annotated[int, BeforeValidator(_number), Field(ge=-(2**63), lt=2**63)]
_Float = Annotated[float, BeforeValidator(_number)]

# An input whose own wish says one of them says how sparse its answer is to be, whatever is wished for the others.
_HOW_SPARSE = {"label_count", "sparsity_rate"}
_MAX_LABELS_COMPARED = 1000


class WishFields(BaseModel):
    """The wishes that a request may state, for all of its inputs or for one."""

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
        if not self.model_fields_set:
            return _NO_WISH
        return Wish(
            sparsity=Sparsity(self.label_count, self.sparsity_rate),
            max_labels=self.max_labels,
            min_probability=self.min_probability or 0.0,
            only=None if self.only is None else frozenset(self.only),
            exclude=frozenset(self.exclude or ()),
        )

    def of_inputs(self, count: int, own: Sequence["WishFields"] | None) -> "Wishes":
        """What is wished for the inputs of a request, where this is what it says for all of them.

        Args:
            count: Number of inputs.
            own: What it says for each of them; that goes before what it says for all, also where it says null.

        Raises:
            InvalidRequest: another number of wishes than of inputs.
        """
        if own is None:
            return Wishes(self.wish())
        if len(own) != count:
            raise InvalidRequest(f"wishes must hold one for each of the {count} inputs, got {len(own)}")
        return Wishes(self.wish(), [self._overridden_by(fields).wish() for fields in own])

    def _overridden_by(self, own: "WishFields") -> "WishFields":
        said = own.model_dump(exclude_unset=True)
        replaced = said.keys() | (_HOW_SPARSE if said.keys() & _HOW_SPARSE else set())
        return WishFields(**(self.model_dump(include=WishFields.model_fields.keys() - replaced) | said))


class OwnWishes(WishFields):
    """The wishes for one input of several."""

    model_config = ConfigDict(extra="forbid")


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
        self.sparsity.validate(len(model.manifest.labels))
        for name, labels in (("only", self.only or ()), ("exclude", self.exclude)):
            for label in sorted(labels):
                if label not in model.label_positions:
                    near = _similar(label, model.manifest.labels)
                    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                    raise UnknownLabel(
                        f"{name} must hold labels of {model.name}, got {label[:80]!r}{hint}", labels=near
                    )

    def told(self, label_sets: LabelSets) -> LabelSets:
        """What of an answer its caller wants to be told."""
        if self._tells_all:
            return label_sets
        if isinstance(label_sets, LabelSet):
            return self._told(label_sets)
        return {word: self._told(label_set) for word, label_set in label_sets.items()}

    @cached_property
    def _tells_all(self) -> bool:
        return self == Wish(self.sparsity)

    def _told(self, label_set: LabelSet) -> LabelSet:
        labels = tuple(
            scored
            for scored in label_set.labels
            if scored.probability >= self.min_probability
            and scored.label not in self.exclude
            and (self.only is None or scored.label in self.only)
        )
        return replace(label_set, labels=labels[: self.max_labels])


_NO_WISH = Wish(LET_THE_MODEL_DECIDE)


def _similar(label: str, labels: Sequence[str]) -> list[str]:
    # Of more it takes longer than an answer does, and a request may name a wrong label for each of its inputs.
    return difflib.get_close_matches(label[:80], labels, n=3) if len(labels) <= _MAX_LABELS_COMPARED else []


@dataclass(frozen=True)
class Wishes:
    """What is wished for the inputs of a request.

    Attributes:
        common: For all of them.
        own: For each of them; empty where that is the common one.
    """

    common: Wish
    own: Sequence[Wish] = ()

    def each(self, count: int) -> Sequence[Wish]:
        """The wish for each of `count` inputs."""
        return self.own or [self.common] * count

    def refusals(self, model: ServedModel) -> list[LabelsetError | None]:
        """Of the wishes for single inputs those that a model cannot grant, as errors: such an input fails alone.

        Raises:
            InvalidSparsity, UnknownLabel: the model cannot grant the common wish.
        """
        self.common.check(model)
        return [_refusal(wish, model) for wish in self.own]


def _refusal(wish: Wish, model: ServedModel) -> LabelsetError | None:
    try:
        wish.check(model)
    except LabelsetError as error:
        return error
    return None
