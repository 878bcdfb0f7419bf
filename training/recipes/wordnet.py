"""The field of meaning of a definition: one of 45 labels a text, three layers of MiniLM, fine-tuned on a part."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="wordnet",
    data=DataConfig(source="wordnet", max_train_examples=20_000),
    input=TextInput(max_length=48),
    backbone=PretrainedBackbone(source="minilm-l3"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=2, batch_size=64),
)
