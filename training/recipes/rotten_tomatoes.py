"""Is a sentence about a film for or against it: one label a sentence, three layers of MiniLM, fine-tuned."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="rotten-tomatoes",
    data=DataConfig(source="rotten-tomatoes"),
    input=TextInput(max_length=64),
    backbone=PretrainedBackbone(source="minilm-l3"),
    optimizer=OptimizerConfig(lr=1e-4, head_lr=1e-3),
    schedule=Schedule(epochs=2, batch_size=32),
)
