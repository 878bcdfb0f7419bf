import pkgutil

import pytest

from training import recipes
from training.config import ConfigError, NewBackbone, PretrainedBackbone
from training.overrides import named_recipe, override, recipe_names


@pytest.fixture
def recipe():
    return named_recipe("text")


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(recipes.__path__)])
def test_a_recipe_is_named_as_its_file(module):
    assert module.replace("_", "-") in recipe_names()
    assert named_recipe(module.replace("_", "-")).name == module.replace("_", "-")


def test_settings_take_the_type_of_their_key(recipe):
    changed = override(
        recipe,
        [
            "optimizer.lr=3e-5",
            "schedule.epochs=7",
            "seed=3",
            "name=mine",
            'data.source="123"',
            "backbone.layers=null",
            "loss.name=bce",
        ],
    )
    assert changed.optimizer.lr == 3e-5
    assert (changed.schedule.epochs, changed.seed, changed.name) == (7, 3, "mine")
    assert (changed.data.source, changed.backbone.layers, changed.loss.name) == ("123", None, "bce")


def test_lists_become_tuples():
    changed = override(named_recipe("image"), ["backbone.depths=[1, 2]"])
    assert changed.backbone.depths == (1, 2)


def test_a_whole_section_may_be_replaced(recipe):
    assert isinstance(recipe.backbone, PretrainedBackbone)
    changed = override(recipe, ['backbone={"kind": "new", "hidden_size": 64}', "backbone.layers=1"])
    assert changed.backbone == NewBackbone(hidden_size=64, layers=1)


def test_later_settings_win_and_others_stay(recipe):
    changed = override(recipe, ["optimizer.lr=1e-3", "optimizer.lr=1e-4"])
    assert changed == recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": 1e-4})})


def test_overriding_leaves_the_recipe_itself_alone(recipe):
    override(recipe, ["seed=9", "optimizer.lr=1"])
    assert (recipe.seed, recipe.optimizer.lr) == (0, 1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lrr=1", "there is no setting 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
        ("optimiser.lr=1", "there is no setting 'optimiser.lr'; did you mean 'optimizer.lr'?"),
        ("lr=1", "there is no setting 'lr'"),
        ("optimizer.lr.value=1", "there is no setting 'optimizer.lr.value'; did you mean 'optimizer.lr'?"),
        ("seeds=1", "there is no setting 'seeds'; did you mean 'seed'?"),
        ("optimizer.lr=-1", "optimizer.lr: Input should be greater than 0, got -1"),
        ("optimizer.lr=NaN", "optimizer.lr: Input should be greater than 0, got nan"),
        ("schedule.epochs=many", "got 'many'"),
        ("loss.name=hinge", "loss.name: Input should be 'as_softmax', 'zlpr'"),
        ("name=No Spaces", "name: String should match pattern"),
        ("optimizer=3", "optimizer: Input should be a valid dictionary"),
        ('backbone={"kind": "huge"}', "backbone: Input tag 'huge'"),
        ("optimizer.lr", "a setting must read section.key=value, got 'optimizer.lr'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(recipe, setting, message):
    with pytest.raises(ConfigError) as raised:
        override(recipe, [setting])
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("policy", "needed", "value"), [("fixed_count", "label_count", 3), ("fixed_rate", "sparsity_rate", 0.9)]
)
def test_a_policy_needs_the_value_that_it_fixes_in_any_order_of_settings(recipe, policy, needed, value):
    with pytest.raises(ConfigError, match=rf"head\.policy {policy} needs head\.{needed}, got none"):
        override(recipe, [f"head.policy={policy}"])
    for settings in (
        [f"head.policy={policy}", f"head.{needed}={value}"],
        [f"head.{needed}={value}", f"head.policy={policy}"],
    ):
        assert getattr(override(recipe, settings).head, needed) == value


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"got 'atack'; did you mean 'attack'\?"):
        named_recipe("atack")


def test_positive_logits_need_a_loss_whose_logits_have_a_zero():
    recipe = named_recipe("attack")
    for loss in ("as_softmax", "zlpr", "bce"):
        assert override(recipe, ["head.policy=positive_logits", f"loss.name={loss}"]).head.policy == "positive_logits"
    with pytest.raises(ConfigError, match=r"head\.policy positive_logits needs a loss with a zero .*, got softmax"):
        override(recipe, ["head.policy=positive_logits", "loss.name=softmax"])
