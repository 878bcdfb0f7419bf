"""Keywords of a drawing: a head on the features of ResNet-50 with ImageNet weights, which stay as they are."""

from training.config import DataConfig, HeadConfig, ImageInput, OptimizerConfig, PretrainedBackbone, Recipe, Schedule

RECIPE = Recipe(
    name="openclipart",
    data=DataConfig(source="openclipart"),
    input=ImageInput(size=224),
    backbone=PretrainedBackbone(source="resnet50-imagenet", frozen=True),
    head=HeadConfig(dropout=0.3),
    optimizer=OptimizerConfig(head_lr=3e-3),
    schedule=Schedule(epochs=15, batch_size=64, patience=5),
)
