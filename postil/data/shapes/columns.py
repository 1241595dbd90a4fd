"""What the columns of a table, or the fields of a JSON record, are for: found by their names."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

# Earlier names win where a record has several: a table with "user" and "question" keeps names in the first.
QUESTIONS = (
    *(
        "instruction",
        "question",
        "prompt",
        "query",
        "q",
        "ask",
        "user_question",
        "user_input",
        "human",
        "user",
        "customer",
    ),
    *(
        "问题",
        "提问",
        "用户问题",
        "客户问题",
        "顾客问题",
        "用户提问",
        "客户提问",
        "标准问题",
        "标准问",
        "问法",
        "问题内容",
    ),
    *("咨询内容", "咨询", "问", "指令", "用户", "客户", "顾客"),
    *("問題", "提問", "用戶問題", "客戶問題", "標準問題", "用戶", "客戶", "顧客", "質問", "質問内容"),
    *("input", "输入", "輸入"),
)
ANSWERS = (
    *("output", "answer", "response", "completion", "a", "reply", "assistant", "gpt", "agent", "bot", "ai"),
    *(
        "答案",
        "回答",
        "标准答案",
        "参考答案",
        "标准回答",
        "客服回复",
        "客服回答",
        "回复",
        "答复",
        "回复内容",
        "回答内容",
    ),
    *("答案内容", "答", "客服", "助手", "输出", "標準答案", "客服回覆", "回覆", "答覆", "輸出", "回答内容"),
)
EXTRA_INPUTS = ("input", "输入", "輸入")
SYSTEMS = (
    *(
        "system",
        "system_prompt",
        "system_message",
        "系统",
        "系统提示",
        "系统提示词",
        "系统指令",
        "系統",
        "系統提示",
        "系統提示詞",
    ),
)
HISTORIES = ("history", "历史", "历史对话", "对话历史", "歷史", "對話歷史")
TURN_LISTS = (
    "messages",
    "conversations",
    "conversation",
    "dialogue",
    "dialog",
    "chat",
    "utterances",
    "turns",
    "对话",
    "對話",
)
TOOLS = ("tools", "functions")
REJECTED = (
    *("rejected", "reject", "rejected_response", "rejected_output", "rejected_answer", "rejected_completion"),
    *("rejected_messages", "non_preferred_output"),
)
CHOSEN = ("chosen", "chosen_response", "preferred_output")
KTO_LABELS = ("label", "kto_tag", "kto_label")


Kind = Literal["qa", "chat", "classification", "preference", "tool_calls", "not_qa"]
"""What records are: single questions with answers, chats of several turns, texts with labels, comparisons, or neither."""

Reason = Literal["named", "mapped", "by_content", "no_header", "structure"]
"""Why a layout was taken: names known, the user's `--map`, what stands in the columns, no header row, nested lists."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which field of a record holds what; None where no field does.

    Args:
        session: same value, same chat.
        speaker: who says what stands in `content`.
        content: what a speaker says.
        time: orders the rows of a chat.
        ignored_pairs: (field used, field left out) where two fields could both be the question, or the answer.
        kind: "classification" where the answer is a label.
        confidence: 0 to 1; under 0.9 the user is asked to look.
    """

    question: str | None = None
    answer: str | None = None
    extra_input: str | None = None
    system: str | None = None
    history: str | None = None
    turns: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    kto_labels: tuple[str, ...] = ()
    ignored_pairs: tuple[tuple[str, str], ...] = ()
    session: str | None = None
    speaker: str | None = None
    content: str | None = None
    time: str | None = None
    kind: Kind = "qa"
    confidence: float = 1.0
    reason: Reason = "named"

    @property
    def is_pair(self) -> bool:
        """True when both a question and an answer have a field."""
        return self.question is not None and self.answer is not None


def normalize_name(name: str) -> str:
    """Folds a header: " Question（必填）:" and "question" are one name; spaces and hyphens become "_"."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    folded = re.sub(r"\(.*?\)|\[.*?\]|【.*?】", "", folded).strip(" \t\r\n*:：#\ufeff")
    return re.sub(r"[\s\-]+", "_", folded)


def list_names(names: Sequence[str]) -> str:
    """Names for a sentence: the first twelve, shortened to 40 characters each."""
    return ", ".join(" ".join(name.split())[:40] for name in names[:12]) + (" ..." if len(names) > 12 else "")


@lru_cache(maxsize=4096)
def find_layout(names: tuple[str, ...]) -> Layout:
    """What each of `names` (headers or JSON keys, in file order) is for; unknown names are left out."""
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(normalize_name(name), name)

    def every(wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(by_name[n] for n in dict.fromkeys(wanted) if n in by_name)

    def first(wanted: Sequence[str]) -> str | None:
        return next(iter(every(wanted)), None)

    question, answer, extra_input = first(QUESTIONS), first(ANSWERS), first(EXTRA_INPUTS)
    extra_input = None if extra_input == question else extra_input
    spare_questions = [n for n in every(QUESTIONS)[1:] if n != extra_input]
    return Layout(
        question=question,
        answer=answer,
        extra_input=extra_input,
        system=first(SYSTEMS),
        history=first(HISTORIES),
        turns=every(TURN_LISTS),
        tools=every(TOOLS),
        rejected=every(REJECTED),
        chosen=every(CHOSEN),
        kto_labels=every(KTO_LABELS),
        ignored_pairs=(
            *((question or "", n) for n in spare_questions),
            *((answer or "", n) for n in every(ANSWERS)[1:]),
        ),
    )
