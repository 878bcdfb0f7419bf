"""Changes of what is served that a caller asks for: whether he may, and what he may say. Knows no HTTP."""

import asyncio

from pydantic import BaseModel, ConfigDict, Field

from service.errors import AdminOff
from service.repository import Entry, Repository
from service.settings import Settings


class LoadParameters(BaseModel):
    """What may be said of a model that is to be loaded."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str | None = Field(default=None, description="Which version; all of them when left out.")


class UnloadParameters(LoadParameters):
    """What may be said of a model that is to be unloaded."""

    unload_dependents: bool = Field(default=False, description="Of no consequence: no model depends on another.")


def require_admin(settings: Settings) -> None:
    """Refuse every change, and a look at what may be changed, where the service was started without leave for it.

    Raises:
        AdminOff: it was.
    """
    if not settings.admin:
        raise AdminOff("this service takes no changes: start it with LABELSET_ADMIN=true, or labelset serve --admin")


async def entries(repository: Repository, only_ready: bool) -> list[Entry]:
    """What the index says."""
    every = await asyncio.to_thread(repository.index)
    return [entry for entry in every if entry.state == "READY" or not only_ready]
