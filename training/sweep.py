"""A few settings in every combination, with several seeds, one run after another. `standings.py` says who wins."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from training.config import ConfigError, DataConfig, Recipe
from training.data.configured import load_configured
from training.data.dataset import LabelledData
from training.evaluate import answer, measure
from training.overrides import override
from training.record import Result, read_history, read_result, write_result
from training.tracking import Tracker
from training.train_and_export import run_folder, train

Axis = tuple[str, list[str]]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: a combination of settings, and the recipe that follows from it and a seed."""

    settings: tuple[str, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The combination, as tables show it."""
        return " ".join(self.settings) or "the recipe as it is"


@dataclass(frozen=True)
class Outcome:
    """A trial and how it ended."""

    trial: Trial
    result: Result
    folder: Path
    seconds: float

    @property
    def validation_f1(self) -> float:
        """What trials are ordered by."""
        return self.result.validation["example_f1"]


def parse_axis(text: str) -> Axis:
    """`loss.delta=0.1,0.3,1` -> the key and its values; a value may be a JSON list or object.

    Raises:
        ConfigError: no key or no value.
    """
    key, _, values = text.partition("=")
    parts = _split_outside_brackets(values)
    if not key or not all(parts):
        raise ConfigError(f"--grid must read section.key=value,value, got {text!r}")
    return key, parts


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` -> the seeds.

    Raises:
        ConfigError: one of them is no number, or stands twice.
    """
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise ConfigError(f"--seeds must be different numbers, separated by commas, got {text!r}")
    return [int(part) for part in parts]


def trials(recipe: Recipe, grid: Sequence[Axis], seeds: Sequence[int]) -> list[Trial]:
    """Every combination of the settings with every seed.

    Raises:
        ConfigError: a setting does not exist or refuses its value.
    """
    pairs = [[f"{key}={value}" for value in values] for key, values in grid]
    return [
        Trial(settings, override(recipe, [*settings, f"seed={seed}"]))
        for settings in itertools.product(*pairs)
        for seed in seeds
    ]


def run_sweep(todo: Sequence[Trial], runs: Path, tracker: Tracker = "tensorboard") -> list[Outcome]:
    """Train one trial after another. One that has ended before is read, one that was cut off goes on.

    Args:
        todo: What to train. Data is read once for each way in which they ask for it.
        runs: The folder of all runs.
        tracker: Where figures are logged to.
    """
    loaded: dict[DataConfig, LabelledData] = {}
    outcomes = []
    with tqdm(todo, desc="sweep", unit="run", disable=None) as bar:
        for trial in bar:
            bar.set_postfix_str(f"{trial.name}, seed {trial.recipe.seed}")
            config = trial.recipe.data
            if config not in loaded:
                loaded[config] = load_configured(config)
            outcomes.append(_run(trial, loaded[config], runs, tracker))
    return outcomes


def _run(trial: Trial, data: LabelledData, runs: Path, tracker: Tracker) -> Outcome:
    folder = run_folder(trial.recipe, data, runs)
    result = read_result(folder)
    if result is None:
        parts = train(trial.recipe, data, runs, tracker=tracker).seen
        result = write_result(folder, data, measure(answer(parts.classifier, parts.test, "test"), data.task))
    return Outcome(trial, result, folder, read_history(folder)[-1]["seconds"])


def _split_outside_brackets(text: str) -> list[str]:
    """Split at commas, but not at those within a JSON list or object."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
