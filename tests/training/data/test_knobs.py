import pytest

from training.data.dataset import DataError, LabelledData
from training.data.knobs import bind_knobs


def load_shapes(seed=0, *, size: int = 3, share: float = 0.5, colours: str = "red"):
    return LabelledData("shapes", "text", (), [], [], [], "CC0", repr((seed, size, share, colours)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("shapes", (7, 3, 0.5, "red")),
        ("shapes?size=12", (7, 12, 0.5, "red")),
        ("shapes?share=0.25&colours=red,blue", (7, 3, 0.25, "red,blue")),
    ],
)
def test_settings_in_the_name_reach_the_loader_in_its_types(name, settings):
    assert bind_knobs(name, load_shapes)(7).source == repr(settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shapes?sise=3", "shapes has no setting 'sise'; its settings are: size, share, colours"),
        ("shapes?seed=3", "shapes has no setting 'seed'"),
        ("shapes?size=many", "shapes: size must be of type int, got 'many'"),
        ("shapes?size=", "shapes: size must be of type int, got ''"),
    ],
)
def test_a_setting_that_makes_no_sense_is_an_error(name, message):
    with pytest.raises(DataError, match=message):
        bind_knobs(name, load_shapes)
