"""The folder of bundles behind what is served: what lies there is loaded, replaced and unloaded while requests go on.

Everything that changes the catalogue runs on one thread of its own, one change after another. A request sees none of
it: it takes the catalogue as it is at that moment, and what it took lives until its last user lets go of it.
"""

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from model.bundle import MANIFEST, Bundle, BundleError
from model.errors import LabelsetError
from model.repository import BundleFolder, bundle_folders, version_order
from service.catalogue import Catalogue, ModelNotFound, ServedModel, VersionNotFound
from service.folders import Look, look, look_around
from service.loading import load_model
from service.session_host import SessionHost
from service.session_link import SessionProcessDied
from service.settings import Settings

State = Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]
_Key = tuple[str, str]

# Between two looks at what has changed: a folder that is being written is left alone, and one that is replaced by
# renaming is not gone because one look fell between the two renames.
_SETTLE_SECONDS = 0.5

logger = logging.getLogger("labelset.service")


class NothingToServe(LabelsetError):
    """Not one sound bundle where the models should be."""

    code = "nothing_to_serve"


class ModelRefused(LabelsetError):
    """What lies in the repository was not fit to be served; what was served before is served still."""

    code = "model_refused"


class ChangedWhileRead(BundleError):
    """Somebody wrote to the bundle while it was loaded."""

    code = "bundle_changed_while_read"


@dataclass(frozen=True)
class Entry:
    """What the index says of one version; `reason` is empty where all is well."""

    name: str
    version: str
    state: State
    reason: str


@dataclass(frozen=True)
class _Note:
    """What was last decided about a folder, when its files looked so: why they are not served; empty where they are."""

    folder: BundleFolder
    look: Look
    reason: str


class Repository:
    """Loads and unloads the bundles under `settings.models`; `catalogue` is what is served at this moment."""

    def __init__(self, settings: Settings, host: SessionHost) -> None:
        self._settings = settings
        self._host = host
        self._load_settings = settings.load_settings(host.devices())
        self.catalogue = Catalogue()
        # Both are replaced and never changed, since `index` reads them from another thread.
        self._notes: dict[_Key, _Note] = {}
        self._loading: _Key | None = None
        self._trouble = ""
        self._retiring: weakref.WeakValueDictionary[_Key, ServedModel] = weakref.WeakValueDictionary()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="repository")

    @classmethod
    def open(cls, settings: Settings, host: SessionHost) -> "Repository":
        """Load every bundle under `settings.models`; a broken one is refused and logged, the others are served.

        Args:
            settings: Where the bundles are, and how they are to be served.
            host: Where they are computed.

        Raises:
            NothingToServe: no bundle is left.
        """
        repository = cls(settings, host)
        folders = bundle_folders(settings.models)
        refused = [f"{folder} ({reason})" for folder in folders if (reason := repository._consider(folder))]
        if not repository.catalogue:
            raise NothingToServe(
                f"{settings.models} must be a bundle (a folder with {MANIFEST}) or hold sound ones as "
                f"NAME/VERSION/{MANIFEST}, " + (f"all were refused: {'; '.join(refused)}" if refused else "found none")
            )
        return repository

    async def load(self, name: str, version: str | None = None) -> None:
        """Load a version, or every version, of a model; what is loaded and unchanged stays as it is.

        Raises:
            ModelNotFound: the repository holds no bundle of this name.
            VersionNotFound: the repository does not hold this version.
            ModelRefused: a version is broken; the others are loaded, and what was served is served still.
        """
        await self._in_turn(lambda: self._load(name, version))

    async def unload(self, name: str, version: str | None = None) -> None:
        """Serve a version, or every version, of a model no more, until it is loaded by name or its files change.

        Raises:
            ModelNotFound: no model of this name is served or lies in the repository.
            VersionNotFound: the model has no such version.
        """
        await self._in_turn(lambda: self._unload(name, version))

    async def rescan(self) -> None:
        """Load what is new or has changed, unload what is gone; whatever goes wrong is logged."""
        await self._in_turn(self._rescan)

    def index(self) -> list[Entry]:
        """Every version that is served, was refused or unloaded, or lies there; the newest of a name first."""
        newest_first = sorted(self._folders(), key=lambda folder: version_order(folder.version), reverse=True)
        return [self._entry(folder) for folder in sorted(newest_first, key=lambda folder: folder.name)]

    def _entry(self, folder: BundleFolder) -> Entry:
        note = self._notes.get(folder.key)
        state: State = "UNAVAILABLE"
        if self.catalogue.find(*folder.key):
            state = "READY"
        elif folder.key == self._loading:
            state = "LOADING"
        elif folder.key in self._retiring:
            state = "UNLOADING"
        return Entry(folder.name, folder.version, state, note.reason if note else "not loaded")

    def _folders(self) -> list[BundleFolder]:
        """Those that lie there, and those that did."""
        try:
            found = bundle_folders(self._settings.models)
        except (OSError, LabelsetError):  # unreadable, or itself a bundle whose manifest has become a broken one
            found = []
        known = [note.folder for note in self._notes.values()]
        return list({folder.key: folder for folder in [*known, *found]}.values())

    def close(self) -> None:
        """Wait for the change that is under way; those that wait are dropped."""
        self._thread.shutdown(cancel_futures=True)

    async def _in_turn(self, change: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, change)

    def _load(self, name: str, version: str | None) -> None:
        folders = _chosen(self._folders(), name, version)
        refused = [f"{folder} ({reason})" for folder in folders if (reason := self._consider(folder, asked_for=True))]
        if refused:
            raise ModelRefused(f"refused {'; '.join(refused)}", refused=refused)

    def _unload(self, name: str, version: str | None) -> None:
        for folder in _chosen(self._folders(), name, version):
            self._retire(folder)
            self._note(folder, look(folder.path), "unloaded on request")

    def _rescan(self) -> None:
        known = [note.folder for note in self._notes.values()]
        try:
            before = look_around(self._settings.models, known)
            self._trouble = ""
            if before == {key: (note.folder, note.look) for key, note in self._notes.items()}:
                return
            time.sleep(_SETTLE_SECONDS)
            after = look_around(self._settings.models, known)
        except (OSError, LabelsetError) as error:
            if str(error) != self._trouble:
                logger.error("the models cannot be looked at, what is served stays as it is: %s", error)
            self._trouble = str(error)
            return
        # First what comes, then what goes: a version that was renamed is served under one of its names at any moment.
        for key, (folder, _) in after.items():
            if before.get(key) == after[key]:
                self._consider(folder)
            else:
                logger.info("%s is being written: left for the next time", folder)
        for key in self._notes.keys() - before.keys() - after.keys():
            self._retire(self._notes[key].folder)
            self._notes = {other: note for other, note in self._notes.items() if other != key}

    def _consider(self, folder: BundleFolder, asked_for: bool = False) -> str:
        """Serve what lies in a folder, unless that was decided before and nothing has changed since.

        Args:
            folder: Of one version.
            asked_for: Whether somebody wants this version, so that a refusal is not final.

        Returns:
            Why it is refused; empty where it is served.
        """
        key, appearance = folder.key, look(folder.path)
        note = self._notes.get(key)
        if note and (note.folder, note.look) == (folder, appearance) and not (asked_for and note.reason):
            return note.reason
        self._loading = key
        try:
            model = self._read(folder, appearance)
        except Exception as error:  # whatever is wrong with one bundle, the others must serve on
            reason = _reason(error, folder)
            serves_on = "; what was loaded before serves on" if self.catalogue.find(*key) else ""
            logger.error("refused %s (%s)%s", folder, reason, serves_on, exc_info=not isinstance(error, LabelsetError))
        else:
            self.catalogue = self.catalogue.with_model(model)
            reason = ""
        finally:
            self._loading = None
        self._note(folder, appearance, reason)
        return reason

    def _read(self, folder: BundleFolder, appearance: Look) -> ServedModel:
        try:
            bundle = Bundle.open(folder.path)
            served = self.catalogue.find(*folder.key)
            if served and served.digest == bundle.digest:
                return served
            try:
                return load_model(folder.name, folder.version, bundle, self._load_settings, self._host)
            except SessionProcessDied:  # perhaps by what another model did to it
                return load_model(folder.name, folder.version, bundle, self._load_settings, self._host)
        finally:
            # Then the checksums were those of other files than the session has read, and any error is only its trace.
            if look(folder.path) != appearance:
                raise ChangedWhileRead("its files changed while they were read")

    def _retire(self, folder: BundleFolder) -> None:
        """Serve a version no more; those who are using it finish first, and the last of them frees its session."""
        served = self.catalogue.find(*folder.key)
        if served:
            self._retiring[folder.key] = served
            self.catalogue = self.catalogue.without(*folder.key)
            logger.info("serving %s no more", folder)

    def _note(self, folder: BundleFolder, appearance: Look, reason: str) -> None:
        self._notes = {**self._notes, folder.key: _Note(folder, appearance, reason)}


def _reason(error: Exception, folder: BundleFolder) -> str:
    reason = f"{error.code}: {error.message}" if isinstance(error, LabelsetError) else repr(error)
    # The runtime names the whole path, which is no business of those who read the index.
    return reason.replace(str(folder.path), str(folder))


def _chosen(folders: list[BundleFolder], name: str, version: str | None) -> list[BundleFolder]:
    """The version of a model, or all of them where none is named."""
    of_this_name = [folder for folder in folders if folder.name == name]
    if not of_this_name:
        names = sorted({folder.name for folder in folders})
        raise ModelNotFound(f"model must be one of {names}, got {name!r}", models=names)
    chosen = [folder for folder in of_this_name if version in (None, folder.version)]
    if not chosen:
        versions = [folder.version for folder in of_this_name]
        raise VersionNotFound(f"version of {name} must be one of {versions}, got {version!r}", versions=versions)
    return chosen
