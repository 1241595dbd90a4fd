"""The catalog's facts hold together, and its advice fits."""

import pytest

from postil.language import use_language
from postil.models.base_folder import inspect_base_folder
from postil.models.catalog import CATALOG, CatalogEntry, best_base_for, find_entry, nearest_name
from postil.models.loading import STARTER
from postil.models.memory import shape_from_config

GB = 10**9
entries = pytest.mark.parametrize("entry", CATALOG, ids=[entry.id for entry in CATALOG])


@entries
def test_shape_gives_the_published_number_of_parameters(entry: CatalogEntry) -> None:
    """Every entry of the shape takes part in this number, so a wrong one shows."""
    assert entry.shape.num_parameters == pytest.approx(entry.num_parameters, rel=1e-3)


@entries
def test_described_in_both_languages(entry: CatalogEntry) -> None:
    use_language("en")
    english = entry.description
    use_language("zh")
    assert english
    assert any("\u4e00" <= c <= "\u9fff" for c in entry.description)


@entries
def test_training_takes_more_than_answering_and_fp32_more_than_bf16(entry: CatalogEntry) -> None:
    assert entry.answering_bytes(2) < entry.training_bytes(2) < entry.training_bytes(4)
    assert entry.answering_bytes(2) > entry.num_parameters * 2


def test_starter_is_what_lies_in_the_package() -> None:
    folder = inspect_base_folder(STARTER)
    entry = CATALOG[0]
    assert entry.id == "starter"
    assert shape_from_config(folder.config) == entry.shape
    assert folder.num_parameters == entry.num_parameters
    assert folder.family == entry.family


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-0.6B", "qwen3-0.6b", "LLM-Research/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"]
)
def test_found_by_id_short_name_and_on_both_hubs(name: str) -> None:
    entry = find_entry(name)
    assert entry is not None
    assert name.rpartition("/")[2].casefold() == entry.name.casefold()


def test_unknown_name_and_its_nearest() -> None:
    assert find_entry("Qwen/Qwen3-0.7B") is None
    assert nearest_name("Qwen/Qwen3-0.6") == "Qwen/Qwen3-0.6B"
    assert nearest_name("deepseek-r1-7b") == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    assert nearest_name("xyz") == "starter"


def test_best_base_grows_with_memory_and_always_fits() -> None:
    sizes = []
    for gigabytes in (1, 4, 8, 16, 24, 40, 80, 141):
        best = best_base_for(gigabytes * GB, 2, "cuda")
        assert best.id == "starter" or best.training_bytes(2) <= gigabytes * GB
        sizes.append(best.num_parameters)
    assert sizes == sorted(sizes)
    assert best_base_for(1 * GB).id == "starter"
    assert best_base_for(141 * GB).id == "Qwen/Qwen2.5-14B-Instruct"


def test_nothing_above_two_billion_is_proposed_on_a_cpu() -> None:
    best = best_base_for(500 * GB, 4, "cpu")
    assert best.id != "starter"
    assert best.num_parameters < 2 * GB
    assert best_base_for(500 * GB, 4, "cuda").num_parameters > 2 * GB


def test_ids_are_unique() -> None:
    for field in ("id", "modelscope_id", "name", "description_key"):
        values = [getattr(entry, field) for entry in CATALOG]
        assert len(set(values)) == len(values)
