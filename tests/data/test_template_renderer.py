"""Where templates run, and what is said of one that does not compile."""

import hashlib

import pytest

from postil.data.instruction_form import INSTRUCTION_TEMPLATE
from postil.data.template_renderer import KNOWN_TEMPLATES, TemplateRefusal, check_template
from tests.data.chats import tokenizer


def test_templates_that_ship_with_postil_run_without_a_child() -> None:
    shipped = {INSTRUCTION_TEMPLATE, tokenizer().chat_template or ""}
    assert {hashlib.sha256(source.encode()).hexdigest() for source in shipped} == KNOWN_TEMPLATES


def test_compiling_alone_says_what_is_wrong() -> None:
    with pytest.raises(TemplateRefusal, match="line 2"):
        check_template("\n{% if %}")
