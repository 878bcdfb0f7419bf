"""The part of speech of each word: three layers of MiniLM, fine-tuned on a part of the Brown corpus."""

from training.config import DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="brown",
    data=DataConfig(source="brown", max_train_examples=4_000),
    input=TextInput(max_length=96),
    backbone=PretrainedBackbone(source="minilm-l3"),
    optimizer=OptimizerConfig(lr=3e-4, head_lr=3e-3),
    schedule=Schedule(epochs=2, batch_size=32),
)
