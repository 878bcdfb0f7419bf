"""One's own texts (`--data`): MiniLM-L6, fine-tuned."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="text",
    data=DataConfig(source="attack"),
    input=TextInput(max_length=128),
    backbone=PretrainedBackbone(source="minilm-l6"),
    optimizer=OptimizerConfig(lr=1e-4, head_lr=1e-3),
    schedule=Schedule(epochs=5, batch_size=32),
)
