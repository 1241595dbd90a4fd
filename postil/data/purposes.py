"""What a data set is probably for, told from its conversations by rules that can be read.

Nothing is learned or guessed at: the same conversations always get the same answer. The first rule that fits decides:

    classification     the reader saw a table of labels, or few short answers serve many questions
    multi_turn         half of the conversations or more have two questions or more
    customer_service   a system message that says so, or courtesies in a third of the answers and orders, refunds and
                       deliveries in a part of them; without the courtesies it is a list of facts
    role               questions about who the speaker is, a character in the system message, or short answers that
                       often speak in the first person
    copywriting        the user asks to write something, and the answers are long
    fact_qa            anything else
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal, get_args

from postil.data.conversations import Conversation, normalize_question
from postil.data.languages import language_of
from postil.language import say

DataPurpose = Literal["classification", "multi_turn", "role", "customer_service", "copywriting", "fact_qa"]
DATA_PURPOSES: tuple[DataPurpose, ...] = get_args(DataPurpose)

MOST_LABELS = 200
LABEL_CHARS = 40
SHORT_ANSWER = 150
LONG_ANSWER = 240

_SERVICE_SYSTEM = re.compile(
    r"客服|售后|售前|客户服务|顾客服务|お客様|サポート|customer (?:service|support|care)|support (?:agent|assistant)"
    r"|help ?desk|service (?:agent|desk)",
    re.IGNORECASE,
)
_SERVICE_WORDS = re.compile(
    r"订单|訂單|退款|退货|退貨|换货|換貨|发货|發貨|快递|快遞|物流|包邮|运费|運費|签收|发票|發票|售后|售後|优惠券|下单"
    r"|客服|质保|保修|返品|交換|送料|予約|キャンセル"
    r"|\b(?:orders?|refund(?:s|ed)?|returns?|shipping|shipped|delivery|deliveries|tracking number|invoice|warranty"
    r"|exchange|coupon|checkout|customer (?:service|support))\b",
    re.IGNORECASE,
)
_COURTESY = re.compile(
    r"亲[，,爱]|您好|请您|为您|感谢您|抱歉给您|不好意思|かしこまりました|お客様"
    r"|\b(?:thank you for (?:contacting|reaching|your)|we apologi[sz]e|sorry for the inconvenience|happy to help"
    r"|please contact (?:us|our)|our (?:team|support|store))\b",
    re.IGNORECASE,
)
_WHO = re.compile(
    r"你是谁|你是誰|您是谁|你叫什么|你的名字|你是什么|介绍(?:一下)?(?:你|您)?自己|自我介绍|谁(?:创造|开发|训练|设计)了?你|你是.{0,12}吗"
    r"|\bwho are you\b|\bwhat(?:'s| is) your name\b|\bwho (?:made|created|developed|built|trained) you\b"
    r"|\bintroduce yourself\b|\btell me about yourself\b|\bare you (?:an? )?(?:ai|bot|human|chatgpt)\b",
    re.IGNORECASE,
)
_PERSONA = re.compile(
    r"扮演|角色|人设|人設|你(?:现在)?是(?:一[个位名只]|.{0,12}(?:的|，))|你叫|名叫|口吻|语气|なりきって|あなたは.{1,12}です"
    r"|\b(?:you are|you're|act as|pretend|role-?play|persona|in the (?:voice|style) of|speak like|talk like)\b",
    re.IGNORECASE,
)
_MERE_ASSISTANT = re.compile(
    r"(?:helpful|useful|harmless|ai|language) (?:assistant|model)|有用的|有帮助的|人工智能助手|AI ?助手", re.IGNORECASE
)
_FIRST_PERSON = re.compile(
    r"我(?!们)|俺|本宫|臣妾|本王|朕|在下|老夫|人家|私|僕|\b(?:I|I'm|I've|I'll|me|my|mine)\b", re.IGNORECASE
)
_WRITE = re.compile(
    r"(?:^|[\s，。,.：:请帮给我为你您一下再来])(?:写|生成|撰写|创作|编写|拟|起草|润色|改写|仿写|续写|作)(?:一|出|个|份|篇|首|段|条|几|成|为|：|[^\s]{0,8}文)"
    r"|文案|作文|广告语|推文|小红书|标题党|脚本"
    r"|\b(?:write|draft|compose|generate|rewrite|rephrase|create|produce|craft)\b.{0,40}\b(?:an?|the|some|\d+|this|short)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence that speaks for a purpose: a key of the catalogs, and what it names."""

    key: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return say(self.key, **self.values)


def find_purpose(conversations: Sequence[Conversation], kind: str = "") -> tuple[DataPurpose, tuple[Evidence, ...]]:
    """What the conversations are probably for, and why; the rules stand at the top of this file."""
    if not conversations:
        return "fact_qa", (Evidence("data.profile.nothing", {}),)
    rules: tuple[tuple[DataPurpose, Callable[[Sequence[Conversation]], tuple[Evidence, ...]]], ...] = (
        ("classification", partial(_like_labels, kind=kind)),
        ("multi_turn", _like_chats),
        ("customer_service", _like_service),
        ("role", _like_a_role),
        ("copywriting", _like_writing),
    )
    for purpose, rule in rules:
        if evidence := rule(conversations):
            return purpose, evidence
    chars = round(median(len(c.answer) for c in conversations))
    return "fact_qa", (Evidence("data.profile.fact_qa", {"chars": chars}),)


def _like_labels(conversations: Sequence[Conversation], kind: str) -> tuple[Evidence, ...]:
    labels = Counter(c.answer.strip() for c in conversations)
    values = {"labels": len(labels), "rows": len(conversations), "most": labels.most_common(1)[0][0][:LABEL_CHARS]}
    if kind == "classification":
        return (Evidence("data.profile.labelled", values),)
    rows = sum(c.num_turns == 1 for c in conversations)
    few = 2 <= len(labels) <= min(MOST_LABELS, rows // 10)
    questions = len({normalize_question(c.question) for c in conversations})
    short = max(map(len, labels)) <= LABEL_CHARS
    if rows == len(conversations) and few and short and questions >= 5 * len(labels):
        return (Evidence("data.profile.few_answers", values),)
    return ()


def _like_chats(conversations: Sequence[Conversation]) -> tuple[Evidence, ...]:
    share = sum(c.num_turns > 1 for c in conversations) / len(conversations)
    turns = sum(c.num_turns for c in conversations) / len(conversations)
    return (Evidence("data.profile.chats", {"share": share, "turns": turns}),) if share >= 0.5 else ()


def _like_a_role(conversations: Sequence[Conversation]) -> tuple[Evidence, ...]:
    who = _share(conversations, lambda c: _WHO.search(c.question))
    first_person = _share(conversations, lambda c: _FIRST_PERSON.search(c.answer))
    persona = _share(conversations, lambda c: _is_persona(system_of(c)))
    found = []
    if who >= 0.2:
        found.append(Evidence("data.profile.who", {"share": who}))
    if persona >= 0.5 and first_person >= 0.3:
        found.append(Evidence("data.profile.persona", {"share": persona}))
    in_its_own_voice = first_person >= (0.4 if _median_letters(conversations) <= SHORT_ANSWER else 0.7)
    if found or in_its_own_voice:
        found.append(Evidence("data.profile.first_person", {"share": first_person}))
    return tuple(found)


def _is_persona(system: str) -> bool:
    """True for a character; a helpful assistant and a support agent are none."""
    plain = _MERE_ASSISTANT.search(system) or _SERVICE_SYSTEM.search(system)
    return bool(_PERSONA.search(system)) and not plain


def _like_service(conversations: Sequence[Conversation]) -> tuple[Evidence, ...]:
    system = _share(conversations, lambda c: _SERVICE_SYSTEM.search(system_of(c)))
    words = _share(conversations, lambda c: _SERVICE_WORDS.search(f"{c.question}\n{c.answer}"))
    courtesy = _share(conversations, lambda c: _COURTESY.search(c.answer))
    # A list of facts about orders and refunds is still one of facts: a service desk is told by how it speaks.
    if system < 0.5 and not (words >= 0.15 and courtesy >= 0.3):
        return ()
    found = [("data.profile.service_system", system), ("data.profile.service_words", words)]
    found.append(("data.profile.courtesy", courtesy))
    return tuple(Evidence(key, {"share": share}) for key, share in found if share >= 0.05)


def _like_writing(conversations: Sequence[Conversation]) -> tuple[Evidence, ...]:
    asked = _share(conversations, lambda c: _WRITE.search(c.question))
    if asked < 0.4 or _median_letters(conversations) < LONG_ANSWER:
        return ()
    length = round(median(len(c.answer) for c in conversations))
    return (Evidence("data.profile.asked_to_write", {"share": asked}), Evidence("data.profile.long", {"chars": length}))


def _median_letters(conversations: Sequence[Conversation]) -> float:
    """Half of the answers are no longer; a Chinese character says about as much as three letters and counts so."""
    return median(len(c.answer) * (3 if language_of(c.answer) in ("zh", "ja", "ko") else 1) for c in conversations)


def _share(conversations: Sequence[Conversation], holds: Callable[[Conversation], Any]) -> float:
    return sum(bool(holds(c)) for c in conversations) / len(conversations)


def system_of(conversation: Conversation) -> str:
    """The system message; "" where there is none."""
    first = conversation.messages[0]
    return first.content if first.role == "system" else ""
