"""Cells that a spreadsheet would run are made harmless, and read again as they were."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.data.files.formulas import is_risky, neutralise, restore


@pytest.mark.parametrize(
    "text", ["=1+1", '=cmd|"/c calc"!A1', "+SUM(A1)", "-cmd", "@here", "\tx", "\rx", "- item", "=it's"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert neutralise(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["-5", "+86 138-0013-8000", "-1,200.50", "+1 (555) 010-9999", "-12%", "a=b", "", "'quoted'", "5"]
)
def test_numbers_and_plain_text_stay(text):
    assert neutralise(text) == text
    assert restore(text) == text


@pytest.mark.parametrize("text", ["'@name' is the handle", "'-v' shows more", "'tis", "'5"])
def test_a_quotation_mark_is_no_sign_for_text(text):
    assert restore(text) == text


@given(st.text(alphabet="=+-@\t\r' a1.,(", max_size=8))
def test_every_text_is_harmless_and_nearly_every_one_comes_back(text):
    written = neutralise(text)
    assert not is_risky(written)
    if not text.startswith("'"):
        assert restore(written) in (text, written)
    if "'" not in text:
        assert restore(written) == text


@pytest.mark.parametrize("text", ["+" + "1" * 500_000 + "x", "'=" + "a" * 500_000, "-" + " " * 500_000])
def test_no_cell_takes_long(text):
    started = time.process_time()
    restore(neutralise(text))
    assert time.process_time() - started < 5
