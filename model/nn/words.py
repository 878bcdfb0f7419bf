"""The served form of a token classifier's backbone: of all token features, only those of the words leave it."""

from torch import Tensor

from model.nn.backbones import Backbone, TextBackbone


class WordBackbone(Backbone):
    """A BERT that gives one feature a word: that of the token with which the word begins."""

    input_name = "token_ids"

    def __init__(self, tokens: TextBackbone) -> None:
        super().__init__()
        self.tokens = tokens
        self.feature_size = tokens.feature_size

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Features of the words of a batch, text by text: `[W, F]`.

        Args:
            batch: int64 token ids `[B, T]`, and int64 `[W]`: where in them, flattened, the words begin.
        """
        token_ids_BT, word_position_W = batch
        feature_BTF: Tensor = self.tokens(token_ids_BT)
        return feature_BTF.flatten(0, 1)[word_position_W]
