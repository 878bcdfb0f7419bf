"""One's own recordings (`--data`): ResNet-50 with ImageNet weights on the log-mel spectrogram, fine-tuned."""

from training.config import AudioInput, DataConfig, OptimizerConfig, PretrainedBackbone, Recipe, Schedule

RECIPE = Recipe(
    name="audio",
    data=DataConfig(source="spoken"),
    input=AudioInput(sample_rate=16_000, seconds=4.0, mel_bands=64),
    backbone=PretrainedBackbone(source="resnet50-imagenet"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=8, batch_size=32),
)
