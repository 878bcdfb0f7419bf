"""Who asks, as far as the rest of the service needs to know."""

from dataclasses import dataclass

from service.errors import Forbidden


@dataclass(frozen=True)
class Caller:
    """What the rest of the service knows of who asks.

    Attributes:
        name: That of the key; none where no keys are in force.
        models: Those that the caller may use; all of them where none are named.
    """

    name: str | None = None
    models: frozenset[str] | None = None

    def may_use(self, model: str) -> bool:
        """Whether the caller's key covers a model, which may not exist."""
        return self.models is None or model in self.models

    def require_model(self, model: str) -> None:
        """Refuse a model that the key does not cover, with one answer whether or not it exists.

        Raises:
            Forbidden: the key does not cover it.
        """
        if self.models is not None and model not in self.models:
            own = sorted(self.models)
            raise Forbidden(f"this key is for the models {own}, got {model!r}", models=own)


ANYONE = Caller()
