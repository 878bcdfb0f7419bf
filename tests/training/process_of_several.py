"""What `test_processes.py` starts several times at once: trains recipes, one after the other."""

import pickle
import sys
from pathlib import Path

from training.processes import one_of_several
from training.train_and_export import train


@one_of_several()
def main(work: Path, runs: Path) -> None:
    for recipe, data in pickle.loads(work.read_bytes()):
        train(recipe, data, runs, tracker="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
