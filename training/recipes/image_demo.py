"""The embedded image demo: the first three stages of ResNet-50 (the third cut to one block), on `openclipart`."""

from training.config import (
    DataConfig,
    ExportConfig,
    ImageInput,
    OptimizerConfig,
    PretrainedBackbone,
    Recipe,
    Schedule,
)

RECIPE = Recipe(
    name="image-demo",
    data=DataConfig(source="openclipart"),
    input=ImageInput(size=128),
    backbone=PretrainedBackbone(source="resnet50-imagenet", depths=(3, 4, 1)),
    optimizer=OptimizerConfig(lr=5e-5, head_lr=3e-3),
    schedule=Schedule(epochs=5, batch_size=32),
    export=ExportConfig(weights="int8"),
)
