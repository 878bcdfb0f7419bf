"""What is served at a moment: models by name and version, and which of them a request means."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from model import preprocess
from model.bundle import Bundle
from model.errors import LabelsetError
from model.manifest import Manifest
from model.repository import version_order
from model.session import Sparsity
from service.access.caller import ANYONE, Caller
from service.errors import NotReady
from service.session_calls import Inferred, Loaded

Kind = Literal["image", "audio", "text"]
# What one request holds; words are a text that its caller has split.
InputKind = Kind | Literal["words"]


class ModelNotFound(LabelsetError):
    """No model of this name."""

    code = "model_not_found"


class VersionNotFound(LabelsetError):
    """The model has no such version."""

    code = "version_not_found"


class ModelAmbiguous(LabelsetError):
    """The caller named no model, and more than one takes the input."""

    code = "model_ambiguous"


class HostedModel(Protocol):
    """A bundle that has been loaded where it is computed."""

    @property
    def facts(self) -> Loaded:
        """What is known of it."""

    async def infer(self, items: Sequence[preprocess.Item], sparsities: Sequence[Sparsity]) -> Inferred:
        """Answer inputs as they came from their callers."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of a model, ready to answer; it needs its folder no more."""

    name: str
    version: str
    bundle: Bundle
    hosted: HostedModel
    card: str

    async def infer(self, items: Sequence[preprocess.Item], sparsities: Sequence[Sparsity]) -> Inferred:
        """Answer inputs, each with a wish, as one batch; one that cannot be answered fails alone."""
        return await self.hosted.infer(items, sparsities)

    @property
    def facts(self) -> Loaded:
        """Where and how it is computed, and the examples that it has answered before it was served."""
        return self.hosted.facts

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    @property
    def digest(self) -> str:
        """Tells this content from any other that has the same name and version."""
        return self.bundle.digest

    @cached_property
    def label_positions(self) -> Mapping[str, int]:
        """Where each label stands in the label space."""
        return {label: position for position, label in enumerate(self.manifest.labels)}

    @property
    def labels_words(self) -> bool:
        """Whether it answers for each word of an input."""
        return self.manifest.task == "token_classification"

    @cached_property
    def kind(self) -> Kind:
        """The kind of input that it takes."""
        kind = self.manifest.preprocessing.kind
        return "text" if kind == "words" else kind

    def takes(self, kind: InputKind) -> bool:
        """Whether it can answer inputs of a kind; words are for token classifiers alone."""
        return self.labels_words if kind == "words" else kind == self.kind


class Catalogue:
    """Served models by name and version; the newest version is the one served by default.

    It never changes: a request takes it once, and needs no lock. The repository replaces it as a whole.
    """

    def __init__(self, models: Iterable[ServedModel] = ()) -> None:
        self._models: dict[str, dict[str, ServedModel]] = {}
        self._caller = ANYONE
        newest_first = sorted(models, key=lambda model: version_order(model.version), reverse=True)
        for model in sorted(newest_first, key=lambda model: model.name):
            self._models.setdefault(model.name, {})[model.version] = model

    def __iter__(self) -> Iterator[ServedModel]:
        """The default version of each model, by name."""
        return (next(iter(versions.values())) for versions in self._models.values())

    def __len__(self) -> int:
        """Number of models."""
        return len(self._models)

    def with_model(self, model: ServedModel) -> "Catalogue":
        """This catalogue with one more version, in the place of what has its name and version."""
        others = self.without(model.name, model.version)
        return Catalogue([*others._every_version(), model])

    def without(self, name: str, version: str) -> "Catalogue":
        """This catalogue less one version, if it has it."""
        return Catalogue(model for model in self._every_version() if (model.name, model.version) != (name, version))

    def seen_by(self, caller: Caller) -> "Catalogue":
        """This catalogue, as if it had no other models than those that a caller may use."""
        if caller.models is None:
            return self
        seen = Catalogue()
        seen._models = {name: versions for name, versions in self._models.items() if caller.may_use(name)}
        seen._caller = caller
        return seen

    def versions(self, name: str) -> list[str]:
        """Versions of a model, the newest first."""
        return list(self._models[name])

    def find(self, name: str, version: str) -> ServedModel | None:
        """A version of a model, where it is served."""
        return self._models.get(name, {}).get(version)

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """A version of a model, the newest where none is named.

        Raises:
            Forbidden: the caller whose catalogue this is may not use a model of this name, should there be one.
            ModelNotFound: no model of this name.
            VersionNotFound: the model has no such version.
        """
        self._caller.require_model(name)
        if name not in self._models:
            raise ModelNotFound(f"model must be one of {list(self._models)}, got {name!r}", models=list(self._models))
        versions = self._models[name]
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            raise VersionNotFound(
                f"version of {name} must be one of {list(versions)}, got {version!r}", versions=list(versions)
            )
        return versions[version]

    def select(self, name: str | None = None, version: str | None = None) -> list[ServedModel]:
        """A version of a model, all of its versions where none is named, or those of all models.

        Raises:
            ModelNotFound: no model of this name.
            VersionNotFound: the model has no such version.
        """
        if name is None:
            return list(self._every_version())
        default = self.get(name, version)
        return [default] if version is not None else list(self._models[name].values())

    def choose(self, kind: InputKind, name: str | None, version: str | None) -> ServedModel:
        """The model for inputs of a kind: the one that is named, or else the only one that takes them.

        Raises:
            Forbidden: the caller whose catalogue this is may not use a model of this name, should there be one.
            ModelNotFound: no model of this name.
            VersionNotFound: the model has no such version.
            ModelAmbiguous: no name, and several models take this kind.
            WrongInputKind: the named model, or all of them, take another kind.
            NotReady: no name, and no model is served.
        """
        if name is None:
            name = self._only_taker(kind)
        model = self.get(name, version)
        if not model.takes(kind):
            raise preprocess.WrongInputKind(
                f"the model {model.name} takes {model.kind} inputs, got {kind}", model=model.name, kind=kind
            )
        return model

    def _only_taker(self, kind: InputKind) -> str:
        if not self._models:
            raise NotReady("no model is served at the moment")
        takers = [model.name for model in self if model.takes(kind)]
        if not takers:
            raise preprocess.WrongInputKind(f"none of the models served here takes {kind} inputs", kind=kind)
        if len(takers) > 1:
            raise ModelAmbiguous(
                f"several models take {kind} inputs: say model=NAME with one of {takers}", models=takers
            )
        return takers[0]

    def _every_version(self) -> Iterator[ServedModel]:
        return (model for versions in self._models.values() for model in versions.values())
