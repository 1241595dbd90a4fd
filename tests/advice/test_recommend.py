"""The rules, each with its reason in both languages."""

import json
from dataclasses import replace

import pytest

from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.recommend import KINDS, PRESETS, recommend, said_again, with_kind
from postil.advice.rules import MAX_RANK, choose_batch_rows, choose_learning_rate, needed_rank, parameters_per_rank
from postil.config import RunConfig
from postil.data.conversations import Conversation, Message
from postil.data.profile import profile_conversations
from postil.data.purposes import DataPurpose
from postil.language import LANGUAGES, use_language
from postil.models.catalog import CATALOG, STARTER_ENTRY, find_entry
from postil.problems import Place
from tests.advice.facts import data_of

STARTER = BaseFacts.of_entry(STARTER_ENTRY)
ENTRY_7B = find_entry("Qwen/Qwen2.5-7B-Instruct")
assert ENTRY_7B is not None
QWEN_7B = BaseFacts.of_entry(ENTRY_7B, "cuda", "bf16")


def value(name: str, data: DataFacts, base: BaseFacts = QWEN_7B, **chosen: object) -> object:
    return recommend(data, base, chosen={n.replace("__", "."): v for n, v in chosen.items()}).value(name)


@pytest.mark.parametrize(("rows", "epochs"), [(40, 12), (150, 8), (800, 5), (2000, 3), (9000, 2), (50_000, 1)])
def test_passes_go_down_with_the_number_of_rows(rows: int, epochs: int) -> None:
    assert value("training.epochs", data_of(rows)) == epochs


@pytest.mark.parametrize(
    ("kind", "rows", "epochs"),
    [("fact_qa", 150, 12), ("fact_qa", 20, 15), ("copywriting", 800, 4), ("role", 150, 6), ("multi_turn", 800, 4)],
)
def test_passes_hang_on_the_kind(kind: DataPurpose, rows: int, epochs: int) -> None:
    assert value("training.epochs", data_of(rows, kind)) == epochs


def test_many_duplicates_lower_the_passes() -> None:
    assert value("training.epochs", data_of(150, duplicates=40)) == 8
    assert value("training.epochs", data_of(150, duplicates=80)) == 5


def test_the_starter_gets_enough_steps_however_few_rows() -> None:
    advice = recommend(data_of(10), STARTER)
    assert advice.steps >= 100
    assert advice.value("training.learning_rate") == 1e-3
    assert value("training.epochs", data_of(150), STARTER) == 14
    assert value("training.epochs", data_of(30, "role"), STARTER) == 25


def test_what_was_measured_on_the_starter_goes_before_the_rules() -> None:
    """A role needs fewer passes than the floors, facts no more than others, and little rank was no better."""
    assert value("training.epochs", data_of(80, "role"), STARTER) == 9
    assert value("training.epochs", data_of(250, "fact_qa"), STARTER) == 5
    assert value("adapter.rank", data_of(80, "role"), STARTER) == 16
    assert "measured" in recommend(data_of(80, "role"), STARTER).settings[2].why


def test_batch_is_a_power_of_two_between_4_and_32() -> None:
    assert [choose_batch_rows(rows, 8) for rows in (10, 150, 300, 100_000)] == [4, 8, 16, 32]


def test_learning_rate_follows_the_formula_and_its_limits() -> None:
    # 5e-4 * (2000 / 3584) ** 0.0775 * sqrt(32 / 128), no other factor
    rate = choose_learning_rate("qwen2", 3584, 7_600_000_000, rank=16, batch_rows=32, steps=500)
    assert rate == pytest.approx(2.4e-4)
    assert choose_learning_rate("llama", 64, 1_000_000, rank=16, batch_rows=32, steps=50) == 1e-3
    unknown = choose_learning_rate("other", 3584, 7_600_000_000, rank=16, batch_rows=32, steps=500)
    assert unknown == pytest.approx(2e-4)


def test_rank_follows_the_learned_tokens() -> None:
    """About two bits a parameter against one bit a token, four times over."""
    per_rank = parameters_per_rank(STARTER_ENTRY.shape)
    assert per_rank == 8 * sum(i + o for i, o in STARTER_ENTRY.shape.linears)
    assert needed_rank(per_rank * 16, per_rank) == 32
    assert value("adapter.rank", data_of(1000), STARTER) == 16
    assert value("adapter.rank", data_of(1000, supervised_tokens=per_rank * 16), STARTER) == 32
    assert value("adapter.rank", data_of(1000, supervised_tokens=per_rank * 9999), STARTER) == MAX_RANK
    assert value("adapter.rank", data_of(9000, supervised_tokens=6_000_000)) == 32


def test_little_rank_for_few_rows_of_labels_or_of_a_role() -> None:
    for kind in ("classification", "role"):
        assert value("adapter.rank", data_of(200, kind)) == 8  # type: ignore[arg-type]
        assert value("adapter.rank", data_of(400, kind)) == 16  # type: ignore[arg-type]


def test_a_rank_never_exceeds_the_smallest_layer() -> None:
    small = replace(STARTER, shape=replace(STARTER_ENTRY.shape, head_dim=4))
    assert value("adapter.rank", data_of(1000), small) == 4


def test_dropout_only_for_few_rows_seen_often() -> None:
    assert value("adapter.dropout", data_of(100)) == 0.05
    assert value("adapter.dropout", data_of(100), STARTER) == 0.0
    assert value("adapter.dropout", data_of(100), training__epochs=3.0) == 0.0
    assert value("adapter.dropout", data_of(1000)) == 0.0


def test_a_long_row_is_kept_unless_the_base_cannot_read_it() -> None:
    data = data_of(100, longest_tokens=3000)
    assert value("data.max_length_tokens", data) == 3008
    assert value("data.max_length_tokens", data, STARTER) == 2048


def test_what_the_user_chose_stays_and_the_rest_follows() -> None:
    advice = recommend(data_of(2000), QWEN_7B, chosen={"training.max_steps": 50, "adapter.rank": 4})
    assert advice.steps == 50
    assert "training.epochs" not in {s.name for s in advice.settings}
    assert advice.value("adapter.rank") == 4 and "adapter.rank" not in advice.changes()


def test_presets_are_ordered() -> None:
    passes = [recommend(data_of(800), QWEN_7B, preset).value("training.epochs") for preset in PRESETS]
    assert passes == [3, 5, 8]


def test_few_rows_are_warned_of() -> None:
    keys = {rows: [n.key for n in recommend(data_of(rows, heldout_rows=0), QWEN_7B).notes] for rows in (20, 50, 90)}
    assert keys == {20: ["advice.note.no_verdict"], 50: ["advice.note.weak_verdict"], 90: []}


@pytest.mark.parametrize("base", [STARTER, QWEN_7B, replace(QWEN_7B, family="other", shape=None, context_tokens=None)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_a_reason_in_both_languages_and_fits_the_settings(kind: DataPurpose, base: BaseFacts) -> None:
    for rows in (20, 150, 5000):
        for preset in PRESETS:
            advice = recommend(data_of(rows, kind, duplicates=rows // 2), base, preset)
            RunConfig().replace(advice.changes())  # every one of them exists and has a value that fits
            words = {}
            for language in LANGUAGES:
                use_language(language)
                words[language] = [(s.why, str(s.would_change)) for s in advice.settings]
                assert all(why and change for why, change in words[language])
            assert all(en != zh for en, zh in zip(words["en"], words["zh"], strict=True))
            use_language(None)


@pytest.mark.parametrize("kind", KINDS)
def test_advice_that_was_kept_is_told_in_the_readers_language(kind: DataPurpose) -> None:
    advice = recommend(data_of(20, kind, heldout_rows=0), STARTER)
    assert advice.notes
    use_language("zh")
    zh = json.loads(json.dumps(advice.as_dict()))
    use_language("en")
    en = json.loads(json.dumps(advice.as_dict()))
    assert said_again(zh) == en != zh
    assert said_again({"steps": 5}) == {"steps": 5}
    use_language(None)


def test_facts_travel_as_json() -> None:
    data = data_of(100)
    assert DataFacts.from_dict(data.as_dict()) == data
    assert BaseFacts.from_dict(QWEN_7B.as_dict()) == QWEN_7B
    assert with_kind(data, "role").kind == "role" and with_kind(with_kind(data, "role"), None).kind == data.found_kind


def test_facts_are_guessed_from_a_profile_where_no_tokenizer_is_at_hand() -> None:
    rows = [
        Conversation((Message("user", f"第{n}层有什么？"), Message("assistant", "会议室。" * 5)), Place("f", n))
        for n in range(100)
    ]
    facts = DataFacts.of_profile(profile_conversations(rows))
    assert (facts.rows, facts.heldout_rows, facts.is_exact) == (80, 20, False)
    assert 20 < facts.tokens / facts.rows < 60 and facts.supervised_tokens < facts.tokens


def test_every_base_of_the_catalog_gets_a_recommendation() -> None:
    for entry in CATALOG:
        rate = value("training.learning_rate", data_of(800), BaseFacts.of_entry(entry, "cuda", "bf16"))
        assert isinstance(rate, float) and 5e-5 <= rate <= 1e-3
