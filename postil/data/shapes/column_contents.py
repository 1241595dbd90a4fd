"""What columns are for, judged by what stands in them: where names are missing, unknown, or lie."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"[-+]?[\d.,:/\-\s%¥￥$€£年月日]*\d[\d.,:/\-\s%¥￥$€£年月日]*")
_ASKS_AT_END = re.compile(r"[?？吗呢么][\s。.!！~～)）\"”』」]*$|(?:ですか|ますか|でしょうか|ませんか)[\s。？]*$")
_ASKS_AT_START = re.compile(
    r"\s*(?:how|what|what's|why|when|where|who|whom|whose|which|can|could|do|does|did|is|are|am|was|were|should|will|would"
    r"|may|must|has|have|i want|i need|i would like|i'd like|please|tell me|explain)\b",
    re.IGNORECASE,
)
_ASKS_INSIDE = re.compile(
    r"怎么|怎样|如何|什么|为何|多少|多久|几[天个点时次元]|哪[里个些儿家]|是否|能不能|可不可以|可否|有没有|是不是|请问|想问|怎麼|什麼|為何|哪裡|請問"
)
_ENDS_A_SENTENCE = re.compile(r"[。.!！?？…~～；;」』”\")）]\s*$")
_ENDS_INSIDE = re.compile(r"[。！？!?]|[.;；]\s")


@dataclass(frozen=True, slots=True)
class ColumnContent:
    """One column's cells, summed up; shares are of the cells that are filled, `filled` of all rows."""

    index: int
    filled: float
    numeric: float
    asks: float
    sentences: float
    distinct: float
    num_distinct: int
    mean_chars: float

    @property
    def is_text(self) -> bool:
        """True where most rows hold something that is no number, date or amount."""
        return self.filled >= 0.5 and self.numeric < 0.5 and self.mean_chars >= 2


@dataclass(frozen=True, slots=True)
class ContentChoice:
    """Two columns chosen by their contents, and how sure that is (0 to 1)."""

    question: int
    answer: int
    confidence: float
    is_classification: bool = False


def sum_up(rows: Sequence[Sequence[str]], width: int) -> tuple[ColumnContent, ...]:
    """One summary for each of the first `width` columns."""
    return tuple(
        _column(index, [row[index].strip() for row in rows if index < len(row)], len(rows)) for index in range(width)
    )


def _column(index: int, cells: Sequence[str], num_rows: int) -> ColumnContent:
    filled = [cell[:2000] for cell in cells if cell]
    num = max(len(filled), 1)
    return ColumnContent(
        index=index,
        filled=len(filled) / max(num_rows, 1),
        numeric=sum(NUMBER.fullmatch(cell) is not None for cell in filled) / num,
        asks=sum(asks(cell) for cell in filled) / num,
        sentences=sum(_is_sentence(cell) for cell in filled) / num,
        distinct=len(set(filled)) / num,
        num_distinct=len(set(filled)),
        mean_chars=sum(map(len, filled)) / num,
    )


def asks(text: str) -> bool:
    """True for what reads like a question, in Chinese, English or Japanese."""
    return bool(_ASKS_AT_END.search(text[-40:]) or _ASKS_AT_START.match(text) or _ASKS_INSIDE.search(text[:200]))


def _is_sentence(text: str) -> bool:
    """True for what somebody says rather than a name or an address: it ends, or goes on, as sentences do."""
    if len(text) < 4:
        return False
    has_words = len(text.split()) >= 5 and not re.search(r"\d", text)
    return bool(_ENDS_A_SENTENCE.search(text) or _ENDS_INSIDE.search(text) or has_words)


def reads_like_header(cells: Sequence[str], columns: Sequence[ColumnContent]) -> bool:
    """True where a row names the columns below it rather than being one of them.

    Args:
        columns: summaries of the rows below, for all cells.
    """
    filled = [(c.strip(), column) for c, column in zip(cells, columns, strict=False) if c.strip()]
    if not filled or len({cell for cell, _ in filled}) < len(filled):
        return False
    for cell, _ in filled:
        if len(cell) > 40 or NUMBER.fullmatch(cell) or asks(cell) or re.search(r"[。，！；!;]|[.,]$", cell):
            return False
    if any(column.numeric >= 0.5 and column.filled >= 0.3 for _, column in filled):
        return True
    # Names are shorter than what stands under them; labels may be as short, so the longest column decides.
    cell, column = max(filled, key=lambda pair: pair[1].mean_chars)
    return (len(cell) <= 20 and column.mean_chars >= 2 * len(cell)) or column.filled == 0


def choose_columns(
    columns: Sequence[ColumnContent], question: int | None = None, answer: int | None = None
) -> ContentChoice | None:
    """The columns of questions and answers. None where nothing speaks for any.

    Args:
        question: the column of questions, where its name says so.
        answer: the column of answers, where its name says so.
    """
    texts = [c for c in columns if c.is_text]
    by_index = {c.index: c for c in columns}
    if question is None:
        question_column = _asking(texts, answer)
    else:
        question_column = by_index[question]
    if question_column is not None:
        answer_column = (
            by_index[answer] if answer is not None else _answering(texts, question_column, question is not None)
        )
        if answer_column is not None:
            confidence = 0.8 if question is not None or answer is not None or question_column.asks >= 0.7 else 0.7
            return ContentChoice(question_column.index, answer_column.index, confidence)
    return _two_columns(texts, columns) if question is None and answer is None else None


def _asking(texts: Sequence[ColumnContent], answer: int | None) -> ColumnContent | None:
    asking = [c for c in texts if c.index != answer and c.distinct >= 0.2]
    best = max(asking, key=lambda c: c.asks, default=None)
    if best is None:
        return None
    enough = 0.15 if answer is not None and len(asking) == 1 and best.sentences >= 0.4 else 0.3
    return best if best.asks >= enough else None


def _answering(texts: Sequence[ColumnContent], question: ColumnContent, is_named: bool) -> ColumnContent | None:
    """The longest text beside the questions that says something other in most rows and asks less."""
    fitting = [
        c
        for c in texts
        if c.index != question.index
        and (c.distinct >= 0.3 or c.num_distinct == 1 == question.num_distinct)
        and (is_named or c.asks < question.asks)
        and (c.sentences >= 0.4 or c.mean_chars >= max(0.8 * question.mean_chars, 6))
    ]
    return max(fitting, key=lambda c: c.mean_chars, default=None)


def _two_columns(texts: Sequence[ColumnContent], columns: Sequence[ColumnContent]) -> ContentChoice | None:
    """Two columns of sentences, or of sentences with few short labels, and nothing else but numbers of rows."""
    others = [c for c in columns if c not in texts and c.filled >= 0.3]
    if len(texts) == 2 and len(others) <= 1:
        question, answer = sorted(texts, key=lambda c: c.mean_chars)
        speaks = question.sentences >= 0.3 or question.asks >= 0.15
        if (
            speaks
            and answer.sentences >= 0.5
            and answer.mean_chars >= 1.2 * question.mean_chars
            and answer.distinct >= 0.3
        ):
            return ContentChoice(question.index, answer.index, 0.6)
    return _text_and_label(texts, columns)


def _text_and_label(texts: Sequence[ColumnContent], columns: Sequence[ColumnContent]) -> ContentChoice | None:
    filled = [c for c in columns if c.filled >= 0.9]
    if len(filled) != 2 or len([c for c in columns if c.filled > 0]) != 2:
        return None
    label, text = sorted(filled, key=lambda c: c.num_distinct)
    is_label = (
        2 <= label.num_distinct <= 100 and label.distinct <= 0.2 and label.mean_chars <= 30 and label.sentences < 0.2
    )
    if is_label and text in texts and text.distinct >= 0.5 and (text.sentences >= 0.4 or text.asks >= 0.3):
        return ContentChoice(text.index, label.index, 0.6, is_classification=True)
    return None
