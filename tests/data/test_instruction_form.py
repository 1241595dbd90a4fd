"""The built-in form: what a base without a template learns."""

import pytest

from postil.data.chat_template import ChatFormat
from postil.errors import DataError
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from tests.data.chats import STARTER, chat, tokenizer, trained_texts


def test_the_built_in_form() -> None:
    reader = tokenizer()
    inner = load_tokenizer(STARTER).inner
    inner.chat_template = None
    chat_format = ChatFormat.from_tokenizer(HFTokenizer(inner))
    assert chat_format.is_built_in and chat_format.stop_strings == ("###", "</s>") and chat_format.stop_ids == {2}
    encoded = chat_format.encode_conversation(chat("q", "a", "r", "b", system="s"))
    assert reader.decode(encoded.input_ids, False) == (
        "### Instruction:\ns\nq\n\n### Response:\na<|im_end|>\n\n### Instruction:\nr\n\n### Response:\nb<|im_end|>"
    )
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a<|im_end|>", "b<|im_end|>"]
    with pytest.raises(DataError) as caught:
        chat_format.encode_conversation(chat("q", "### Title\ntext"))
    assert caught.value.problems[0].code == "answer_holds_stop"
    inner.eos_token = None
    endless = ChatFormat.from_tokenizer(HFTokenizer(inner))
    encoded = endless.encode_conversation(chat("q", "a"))
    assert trained_texts(reader, encoded.input_ids, encoded.labels) == ["a\n\n###"] and not endless.stop_ids
