"""Tactics of intrusions from one sentence: MiniLM-L6, fine-tuned."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="attack",
    data=DataConfig(source="attack"),
    input=TextInput(max_length=64),
    backbone=PretrainedBackbone(source="minilm-l6"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=2, batch_size=64),
)
