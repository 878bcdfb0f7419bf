import subprocess
import sys

import pytest

from model import preprocess
from model.errors import LabelsetError

CODES = {
    preprocess.WrongInputKind: "wrong_input_kind",
    preprocess.NotAnImage: "not_an_image",
    preprocess.ImageCorrupt: "image_corrupt",
    preprocess.ImageTooLarge: "image_too_large",
    preprocess.TextTooLong: "text_too_long",
    preprocess.InvalidText: "invalid_text",
}


@pytest.mark.parametrize(("error", "code"), CODES.items())
def test_every_refusal_has_its_own_stable_code(error, code):
    assert error.code == code
    assert issubclass(error, preprocess.InputError)
    assert issubclass(error, LabelsetError)


def test_importing_the_package_loads_neither_pillow_nor_tokenizers():
    program = "import sys, model.preprocess; print(*({'PIL', 'tokenizers', 'torch'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
