"""Fuzzes one target, guided by which lines of Python its inputs reach; ends with an error at the first that breaks it.

The input that broke it lies in the folder of the corpus then, as `crash-…`, `timeout-…` or `oom-…`; give it back as
`--input` to see what it does.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris
import click

MAX_INPUT_BYTES = 20_000
# For any input of that size. Of the processor: others may use it meanwhile, and what never ends is found by the clock.
MAX_CPU_SECONDS = 5.0
MAX_SECONDS = 100
MAX_MEGABYTES = 2_000


def in_time(read: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The function, which must not take longer than any input may."""

    def timed(content: bytes) -> None:
        started = time.thread_time()
        read(content)
        if (spent := time.thread_time() - started) > MAX_CPU_SECONDS:
            raise AssertionError(f"{len(content)} bytes took {spent:.1f} seconds")

    return timed


@click.command()
@click.argument("name")
@click.option("--seconds", type=int, default=60, show_default=True, help="How long.")
@click.option("--corpus", type=click.Path(path_type=Path), default=Path("runs/fuzz"), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--input", "only", type=click.Path(exists=True, path_type=Path), help="Try this one input, and no other.")
def main(name: str, seconds: int, corpus: Path, seed: int, only: Path | None) -> None:
    """Fuzz the target NAME: image, audio, infer or json."""
    with atheris.instrument_imports(include=["PIL", "model", "service", "soundfile"]):
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        raise click.BadParameter(f"must be one of {', '.join(TARGETS)}, got {name!r}")
    target = TARGETS[name]
    if only:
        target.read(only.read_bytes())
        return
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(target.seeds()):
        target.read(content)
        (folder / f"seed-{number}").write_bytes(content)
    options = {
        "max_total_time": seconds, "max_len": MAX_INPUT_BYTES, "timeout": MAX_SECONDS, "rss_limit_mb": MAX_MEGABYTES,
        "seed": seed, "artifact_prefix": f"{folder}/", "print_final_stats": 1,
    }  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(folder)], in_time(target.read)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
