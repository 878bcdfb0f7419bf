"""A service that asks for keys, and one key for each kind of caller."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from service.access.keys import new_key, write_keys


@dataclass(frozen=True)
class Guarded:
    """A service that asks for keys."""

    url: str
    log: Path
    keys: dict[str, str]

    def bearer(self, name: str) -> dict[str, str]:
        """The header of a caller with the key of this name."""
        return {"authorization": f"Bearer {self.keys[name]}"}


@pytest.fixture(scope="session")
def guarded(serve, bundles, tmp_path_factory) -> Guarded:
    everything = ("infer", "metrics", "admin")
    made = {
        "infer": new_key("infer"),
        "metrics": new_key("metrics", scopes=("metrics",)),
        "admin": new_key("admin", scopes=("admin",)),
        "image-only": new_key("image-only", scopes=everything, models=("image-demo", "later")),
        "slow": new_key("slow", requests_per_second=0.01),
    }
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    service = serve(models=bundles, admin=True, keys_file=path)
    return Guarded(service.url, service.log, {name: secret for name, (_, secret) in made.items()})
