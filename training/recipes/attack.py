"""Tactics of intrusions from one sentence: MiniLM-L6, fine-tuned."""

from training.config import DataConfig, LossConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="attack",
    data=DataConfig(source="attack"),
    input=TextInput(max_length=64),
    backbone=PretrainedBackbone(source="minilm-l6"),
    # Wins on validation where every text has a label (docs/results.md).
    loss=LossConfig(name="sparsemax_huber"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=2, batch_size=64),
)
