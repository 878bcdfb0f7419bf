"""The data that a recipe names."""

from training.config import DataConfig
from training.data.dataset import LabelledData
from training.data.registry import load


def load_configured(config: DataConfig) -> LabelledData:
    """Load what the data section of a recipe says, as it says; errors are those of `load`."""
    return load(
        config.source,
        images=config.images,
        min_label_count=config.min_label_count,
        seed=config.split_seed,
        on_bad_row=config.on_bad_row,
        streaming=config.streaming,
    )
