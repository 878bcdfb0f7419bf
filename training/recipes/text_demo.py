"""The embedded text demo: a BERT small enough to lie in a repository, from scratch, on `attack`."""

from training.config import DataConfig, ExportConfig, NewBackbone, OptimizerConfig, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="text-demo",
    data=DataConfig(source="attack"),
    input=TextInput(max_length=64, vocabulary_size=4000),
    backbone=NewBackbone(hidden_size=128, layers=2),
    optimizer=OptimizerConfig(lr=1e-3, head_lr=2e-3),
    schedule=Schedule(epochs=8, batch_size=64),
    export=ExportConfig(weights="int8"),
)
