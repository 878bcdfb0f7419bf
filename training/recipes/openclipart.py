"""Keywords of a drawing: ResNet-50 with ImageNet weights, fine-tuned."""

from training.config import DataConfig, ImageInput, OptimizerConfig, PretrainedBackbone, Recipe, Schedule

RECIPE = Recipe(
    name="openclipart",
    data=DataConfig(source="openclipart"),
    input=ImageInput(size=128),
    backbone=PretrainedBackbone(source="resnet50-imagenet"),
    optimizer=OptimizerConfig(lr=2e-4, head_lr=2e-3),
    schedule=Schedule(epochs=5, batch_size=32),
)
