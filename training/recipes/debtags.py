"""What a Debian package is for, from its description: MiniLM-L6, fine-tuned."""

from training.config import DataConfig, LossConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule, TextInput

RECIPE = Recipe(
    name="debtags",
    data=DataConfig(source="debtags"),
    input=TextInput(max_length=96),
    backbone=PretrainedBackbone(source="minilm-l6"),
    # Wins on validation where every text has a label (docs/results.md).
    loss=LossConfig(name="entmax15"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=4, batch_size=32),
)
