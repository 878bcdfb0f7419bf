"""Language and words of a spoken name: a small ResNet over the log-mel spectrogram, from scratch."""

from training.config import AudioInput, DataConfig, NewBackbone, OptimizerConfig, Recipe, Schedule

RECIPE = Recipe(
    name="spoken",
    data=DataConfig(source="spoken"),
    input=AudioInput(sample_rate=16_000, seconds=2.0, mel_bands=64),
    backbone=NewBackbone(hidden_sizes=(32, 64, 128, 256), depths=(1, 1, 1, 1)),
    optimizer=OptimizerConfig(lr=2e-3, head_lr=2e-3),
    schedule=Schedule(epochs=6, batch_size=32),
)
