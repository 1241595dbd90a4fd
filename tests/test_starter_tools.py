"""The tools that train the starter: tiny runs of the real code."""

import argparse
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from tools.starter import corpus, export, network, pretrain
from tools.starter import tokenizer as starter_tokenizer
from tools.starter.__main__ import model_and_share

STARTER = Path(__file__).parents[1] / "postil" / "models" / "starter"


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    prose = [{"text": f"Row {i} of a small book about tea. " * 12, "src": "test"} for i in range(60)]
    chats = [
        {"messages": [{"role": "user", "content": f"几点开门{i}？"}, {"role": "assistant", "content": "九点。" * 20}]}
        for i in range(60)
    ]
    for name, rows in (("prose_en", prose), ("dialogue_zh", chats), ("lexicon_zh", prose[:20])):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return folder


def settings(corpus_dir: Path, out: Path, tokens: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pretrain.add_arguments(parser)
    arguments = ["--corpus", str(corpus_dir), "--tokenizer", str(STARTER), "--out", str(out), "--tokens", str(tokens)]
    return parser.parse_args([*arguments, "--length", "16", "--rows", "2", "--continue-from", str(STARTER)])


def test_resumed_training_equals_uninterrupted_bit_for_bit(small_corpus: Path, tmp_path: Path) -> None:
    whole = pretrain.pretrain(settings(small_corpus, tmp_path / "whole", 6 * 32), lambda line: None)
    first = settings(small_corpus, tmp_path / "parts", 6 * 32)
    first.save_minutes = 0  # a checkpoint after every step

    class Cut(Exception):
        pass

    saved = 0
    original = pretrain.save_checkpoint

    def save_then_cut(*args: object) -> None:
        nonlocal saved
        original(*args)  # type: ignore[arg-type]
        saved += 1
        if saved == 3:
            raise Cut

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        patch.setattr(pretrain, "save_checkpoint", save_then_cut)
        pretrain.pretrain(first, lambda line: None)
    resumed = pretrain.pretrain(first, lambda line: None)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_held_out_rows_are_not_in_the_streams(small_corpus: Path) -> None:
    rows = list(corpus.read_rows(small_corpus / "prose_en.jsonl.gz"))
    held = [r for i, r in enumerate(rows) if corpus.is_held_out(r) or corpus.is_draft_held_out(i, len(rows))]
    texts = corpus.training_texts("prose_en", small_corpus / "prose_en.jsonl.gz", random.Random(0))
    assert len(texts) == len(rows) - len(held)
    assert not {r["text"] for r in held} & set(texts)


def test_mixture_resumes_where_it_stopped() -> None:
    streams = {"prose_en": np.arange(500, dtype=np.uint16), "dialogue_en": np.arange(300, dtype=np.uint16)}
    one, two = (corpus.Mixture(streams, {"prose_en": 0.5, "dialogue_en": 0.5}, 16, seed=3) for _ in range(2))
    for _ in range(5):
        one.next_batch(4)
    two.restore(one.state())
    assert (one.next_batch(8) == two.next_batch(8)).all()


def test_head_loss_and_gradients_equal_plain_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(600, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    targets = torch.randint(50, (600,))
    plain = torch.nn.functional.cross_entropy(hidden @ head.T, targets)
    expected = torch.autograd.grad(plain, (hidden, head))
    ours = network.TiedHeadLoss.apply(hidden, head, targets)
    gradients = torch.autograd.grad(ours, (hidden, head))
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5)
    for a, b in zip(gradients, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_rescaling_changes_no_logit() -> None:
    model = network.build_model(300, seed=1).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = model(ids).logits
        export.rescale(model, 16.0)
        assert (model(ids).logits - before).abs().max() < 1e-4


def test_average_lies_halfway() -> None:
    exported = pretrain.start_model(0, 0, STARTER)
    before = exported.model.norm.weight.clone()
    with torch.no_grad():
        exported.model.norm.weight.add_(2.0)
    export.average(exported, STARTER)
    assert torch.allclose(exported.model.norm.weight, before + 1.0, atol=1e-6)


def test_schedule_warms_up_stays_and_falls_to_zero() -> None:
    factors = [pretrain.lr_factor(step, 1000, 0.5) for step in (0, 99, 400, 750, 1000)]
    assert factors == pytest.approx([0.01, 1.0, 1.0, 0.5, 0.0])


def test_tokenizer_holds_every_common_character_and_round_trips(tmp_path: Path) -> None:
    assert len(starter_tokenizer.common_characters()) == 3755
    texts = iter(["你好，世界。Hello, world! 12:30\n"] * 50)
    starter_tokenizer.write_tokenizer(starter_tokenizer.train_tokenizer(texts, vocab_size=300), tmp_path)
    trained = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert trained.decode(trained.encode("世界 Hello 🙂 12").ids) == "世界 Hello 🙂 12"
    assert trained.encode("<|im_end|>").ids == [corpus.IM_END]
    shipped = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    assert all(len(shipped.encode(c).ids) == 1 for c in starter_tokenizer.common_characters())


def test_what_to_average_with_has_a_share() -> None:
    assert model_and_share("runs/b/model=0.25") == (Path("runs/b/model"), 0.25)
    assert model_and_share("runs/b/model") == (Path("runs/b/model"), 0.5)
