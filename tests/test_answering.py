"""Asking from Python: both sides of one base, refused on another, shown as a page."""

import subprocess
import sys
from pathlib import Path

import pytest

from postil.answering import ComparedAnswers, Comparison, TunedModel, compare, load
from postil.data.conversations import Message
from postil.errors import CannotWriteError, DataError, MissingInputError, UsageError
from postil.language import use_language
from postil.models.generation import Sampling
from postil.testing.tiny import make_tiny_model
from tests.adapters import make_adapter

SHORT = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("a") / "adapter", "starter", size=0.05, system="Be brief.")


@pytest.fixture(scope="module")
def model(adapter: Path) -> TunedModel:
    return load(adapter, device="cpu", dtype="fp32")


def test_the_two_sides_answer_and_stay_themselves(model: TunedModel) -> None:
    tuned, base = model.answer("你好", sampling=SHORT), model.answer_base("你好", sampling=SHORT)
    assert tuned != base
    assert (model.answer("你好", sampling=SHORT), model.answer_base("你好", sampling=SHORT)) == (tuned, base)
    assert "".join(model.stream("你好", sampling=SHORT)) == tuned
    assert "".join(model.stream("你好", sampling=SHORT, side="base")) == base


def test_the_base_side_is_the_base_itself(model: TunedModel) -> None:
    from postil.config import ModelConfig
    from postil.models.generation import generate_answers
    from postil.models.loading import load_base

    plain = load_base(ModelConfig(device="cpu", dtype="fp32"))
    prompt = model.messages("What is your name?")
    expected = generate_answers(plain.model, plain.chat_format, [prompt], SHORT)[0].text
    assert model.answer_base("What is your name?", sampling=SHORT) == expected


def test_the_system_message_of_training_is_the_default(model: TunedModel) -> None:
    assert model.messages("Hi") == [Message("system", "Be brief."), Message("user", "Hi")]
    assert model.messages("Hi", system="") == [Message("user", "Hi")]
    assert model.messages("Hi", system="Sing.")[0] == Message("system", "Sing.")
    chat = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert model.messages(chat) == chat


def test_streaming_both_gives_both_answers(model: TunedModel) -> None:
    pieces = list(model.stream_both("Hi!", "Hi!", sampling=SHORT))
    for side, expected in (("base", model.answer_base), ("tuned", model.answer)):
        assert "".join(text for found, text in pieces if found == side) == expected("Hi!", sampling=SHORT)


def test_compare_is_the_answers_in_order(adapter: Path, model: TunedModel) -> None:
    questions = ["你好，什么时候发货？", "Hi!", "退款"]
    comparison = compare(adapter, questions, sampling=SHORT, device="cpu")
    assert [r.question for r in comparison.rows] == questions
    found = model.compare(questions, sampling=SHORT)
    assert [r.tuned for r in found.rows] == [model.answer(q, sampling=SHORT) for q in questions]
    assert [r.base for r in found.rows] == [model.answer_base(q, sampling=SHORT) for q in questions]
    assert comparison.as_dict()["rows"][0]["question"] == questions[0]
    with pytest.raises(UsageError):
        compare(adapter, [])


def test_too_long_a_question_is_said(model: TunedModel) -> None:
    with pytest.raises(UsageError, match="2048"):
        model.answer("字" * 3000)


ROWS = (ComparedAnswers("<i>Q</i>", "b & b", "<script>alert(1)</script>", False, True),)


def test_the_page_stands_alone_and_is_escaped(tmp_path: Path) -> None:
    page = Comparison("starter", "runs/a/adapter", ROWS).to_html(tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and '<html lang="en">' in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "b &amp; b" in page
    assert "http" not in page and "prefers-color-scheme: dark" in page
    assert page.index(">base<") < page.index(">tuned<")
    assert page.count("cut at the limit") == 1


def test_the_page_speaks_chinese(tmp_path: Path) -> None:
    use_language("zh")
    page = Comparison("starter", "a", ROWS).to_html(tmp_path / "page.html").read_text("utf-8")
    assert '<html lang="zh">' in page and page.index(">基础模型<") < page.index(">适配器<") and "问题" in page


def test_a_page_is_not_overwritten_silently(tmp_path: Path) -> None:
    comparison = Comparison("starter", "a", ROWS)
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(CannotWriteError):
        comparison.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"
    comparison.to_html(tmp_path / "page.html", force=True)
    with pytest.raises(CannotWriteError):
        comparison.to_html(tmp_path / "no" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_an_adapter_for_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", "qwen3")
    with pytest.raises(DataError, match="another base"):
        load(adapter, base=str(other), device="cpu")
    with pytest.raises(MissingInputError):
        load(tmp_path / "nothing")


MEASURE = """
import sys
from postil.answering import load
from postil.models.generation import Sampling
model = load(sys.argv[1], device="cpu", dtype="fp32")
sampling = Sampling(max_new_tokens=4)
if sys.argv[2] == "one":
    model.answer("Hello there", sampling=sampling)
else:
    list(model.stream_both("Hello there", "Hello there", sampling=sampling))
    model.compare(["Hello there"], sampling=sampling)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_comparing_takes_the_memory_of_one_base(tmp_path: Path) -> None:
    """A base of 170 MB in fp32: a second copy would add far more than 15 %."""
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 12}
    base = make_tiny_model(tmp_path / "base", "qwen2", head_dim=64, num_key_value_heads=4, **shape)
    adapter = make_adapter(tmp_path / "adapter", str(base))
    peaks = {}
    for kind in ("one", "both"):
        command = [sys.executable, "-c", MEASURE, str(adapter), kind]
        run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        peaks[kind] = int(run.stdout.split()[-1])
    assert (base / "model.safetensors").stat().st_size > 150_000_000
    assert peaks["both"] <= 1.15 * peaks["one"]
