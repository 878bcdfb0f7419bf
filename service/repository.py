"""The models that are served: read from a folder at start, verified and replayed before any of them may answer."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from model import golden, preprocess
from model.bundle import MANIFEST, TOKENIZER, Bundle
from model.errors import LabelsetError
from model.manifest import Manifest
from model.predictor import Predictor
from model.repository import BundleFolder, bundle_folders
from service.settings import Settings

Kind = Literal["image", "audio", "text"]
# What one request holds; words are a text that its caller has split.
InputKind = Kind | Literal["words"]

logger = logging.getLogger("labelset.service")


class NothingToServe(LabelsetError):
    """Not one sound bundle where the models should be."""

    code = "nothing_to_serve"


class ModelNotFound(LabelsetError):
    """No model of this name."""

    code = "model_not_found"


class VersionNotFound(LabelsetError):
    """The model has no such version."""

    code = "version_not_found"


class ModelAmbiguous(LabelsetError):
    """The caller named no model, and more than one takes the input."""

    code = "model_ambiguous"


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of a model, ready to answer."""

    name: str
    version: str
    predictor: Predictor
    preprocess: preprocess.Preprocessor
    golden_examples: tuple[golden.GoldenExample, ...]

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.predictor.bundle.manifest

    @property
    def digest(self) -> str:
        """Which bundle exactly: sha256 of its `bundle.json`, which names those of all other files."""
        return self.predictor.bundle.digest

    @property
    def kind(self) -> Kind:
        """The kind of input that it takes."""
        kind = self.manifest.preprocessing.kind
        return "text" if kind == "words" else kind

    def takes(self, kind: InputKind) -> bool:
        """Whether it can answer inputs of a kind; words are for token classifiers alone."""
        return self.predictor.labels_words if kind == "words" else kind == self.kind


class Repository:
    """Served models by name and version; the newest version is the one served by default."""

    def __init__(self, models: Mapping[str, Mapping[str, ServedModel]]) -> None:
        """`models`: by name, then by version, the newest first."""
        self._models = models

    @classmethod
    def load(cls, settings: Settings) -> "Repository":
        """Open every bundle under `settings.models`; a broken one is refused and logged, the others are served.

        Raises:
            NothingToServe: no bundle is left.
        """
        models: dict[str, dict[str, ServedModel]] = {}
        refused: list[str] = []
        for folder in bundle_folders(settings.models):
            try:
                model = _load_model(folder, settings)
            except Exception as error:  # whatever is wrong with one bundle, the others must serve on
                reason = f"{error.code}: {error.message}" if isinstance(error, LabelsetError) else repr(error)
                refused.append(f"{folder.name}/{folder.version} ({reason})")
                logger.error("refused %s", refused[-1], exc_info=not isinstance(error, LabelsetError))
            else:
                models.setdefault(model.name, {})[model.version] = model
        if not models:
            raise NothingToServe(
                f"{settings.models} must be a bundle (a folder with {MANIFEST}) or hold sound ones as "
                f"NAME/VERSION/{MANIFEST}, " + (f"all were refused: {'; '.join(refused)}" if refused else "found none")
            )
        return cls(models)

    def __iter__(self) -> Iterator[ServedModel]:
        """The default version of each model, by name."""
        return (next(iter(versions.values())) for versions in self._models.values())

    def versions(self, name: str) -> list[str]:
        """Versions of a model, the newest first."""
        return list(self._models[name])

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """A version of a model, the newest where none is named.

        Raises:
            ModelNotFound: no model of this name.
            VersionNotFound: the model has no such version.
        """
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

    def choose(self, kind: InputKind, name: str | None, version: str | None) -> ServedModel:
        """The model for inputs of a kind: the one that is named, or else the only one that takes them.

        Raises:
            ModelNotFound: no model of this name.
            VersionNotFound: the model has no such version.
            ModelAmbiguous: no name, and several models take this kind.
            WrongInputKind: the named model, or all of them, take another kind.
        """
        if name is None:
            takers = [model.name for model in self if model.takes(kind)]
            if not takers:
                raise preprocess.WrongInputKind(f"none of the models served here takes {kind} inputs", kind=kind)
            if len(takers) > 1:
                raise ModelAmbiguous(
                    f"several models take {kind} inputs: say model=NAME with one of {takers}", models=takers
                )
            name = takers[0]
        model = self.get(name, version)
        if not model.takes(kind):
            raise preprocess.WrongInputKind(
                f"the model {model.name} takes {model.kind} inputs, got {kind}", model=model.name, kind=kind
            )
        return model


def _load_model(folder: BundleFolder, settings: Settings) -> ServedModel:
    predictor = Predictor(Bundle.open(folder.path), settings.device, threads=settings.runtime_threads)
    examples = golden.replay(predictor)
    # The golden examples went through with the default limits: those of the settings are for callers.
    limited = preprocess.build(
        predictor.bundle.manifest.preprocessing, predictor.bundle.read_text(TOKENIZER), settings.limits
    )
    session = predictor.session
    logger.info("serving %s/%s on %s, r-softmax: %s", folder.name, folder.version, session.device, session.r_softmax)
    return ServedModel(folder.name, folder.version, predictor, limited, examples)
