"""Tactics of intrusions from one sentence: MiniLM-L6, fine-tuned."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="attack",
    data=DataConfig(source="attack", max_train_examples=4200),
    input=TextInput(max_length=64),
    backbone=PretrainedBackbone(source="minilm-l6"),
    optimizer=OptimizerConfig(lr=1e-4, head_lr=1e-3),
    schedule=Schedule(epochs=3, batch_size=32),
)
