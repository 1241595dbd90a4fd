"""Names of those who speak in chat logs, and which side each tells of."""

import re
import unicodedata
from typing import Literal

Side = Literal["user", "assistant", "system"]

# At the beginning or end of a name; those of the assistant first, as 客户经理 holds both.
_ASSISTANT_NAMES = (
    *("客服", "助手", "助理", "机器人", "機器人", "客户经理", "店家", "店主", "掌柜", "商家", "卖家", "賣家"),
    *(
        "旗舰店",
        "专卖店",
        "专营店",
        "旗艦店",
        "店员",
        "店員",
        "管家",
        "顾问",
        "咨询师",
        "医生",
        "大夫",
        "醫生",
        "老师",
        "老師",
        "律师",
        "专家",
    ),
    *("店小二", "坐席", "豆包", "文心一言", "通义千问", "スタッフ", "オペレーター", "アシスタント", "担当者"),
    *("ボット",),
)
_USER_NAMES = (
    *("用户", "用戶", "客户", "客戶", "顾客", "顧客", "买家", "買家", "访客", "訪客", "游客", "客人", "患者"),
    *("病人", "咨询者", "来访者", "求助者", "提问者", "会员", "學生", "学生", "家长", "网友", "住客", "旅客"),
    *("お客様", "お客さま", "ユーザー", "利用者"),
)
_ASSISTANT_WORDS = frozenset(
    (
        *("ai", "assistant", "bot", "chatbot", "chatgpt", "gpt", "gpt-4", "gpt-4o", "claude", "gemini"),
        *("copilot", "llama", "qwen", "deepseek", "kimi", "llm", "model", "agent", "support", "service"),
        *("helpdesk", "operator", "rep", "representative", "staff", "advisor", "adviser", "seller", "merchant"),
        *("clerk", "doctor", "tutor", "teacher", "expert", "receptionist", "concierge", "csr"),
    )
)
_USER_WORDS = frozenset(
    (
        *("user", "human", "customer", "client", "visitor", "guest", "buyer", "patient", "caller", "shopper"),
        *("student", "learner", "prompter", "traveler", "traveller"),
    )
)
_NOT_PEOPLE = re.compile(
    r"(?:电话|热线|邮箱|微信|时间|名|须知|协议|权益|中心|服务|政策|规则|信息|反馈|评价|群|号码?|入口|工号|电話|時間|規約"
    r"|\b(?:hours|phone|email|e-mail|id|name|names|number|agreement|manual|guide|policy|experience|portal|center|centre"
    r"|feedback|satisfaction|note))$"
)
_CJK_SIDES: tuple[tuple[Side, tuple[str, ...]], ...] = (("assistant", _ASSISTANT_NAMES), ("user", _USER_NAMES))
_LATIN_SIDES: tuple[tuple[Side, frozenset[str]], ...] = (("assistant", _ASSISTANT_WORDS), ("user", _USER_WORDS))
_LONGEST_NAME = 80
_NOTICES = re.compile(
    r"^系[统統](?:消息|通知|提示|訊息)$|^system (?:message|notice|notification)$"
    r"|(?:撤回|收回)了?一[条則则](?:消息|訊息)$"
    r"|(?:接入|进入|加入|离开|结束|退出|撤回|joined|left|ended)(?:了|会话|对话|聊天|the chat|the conversation)*$"
)
# Before a colon, but nobody speaks.
_NO_NAMES = frozenset(
    (
        *("http", "https", "ftp", "mailto", "file", "note", "notes", "tip", "tips", "hint", "example"),
        *("warning", "important", "info", "error", "warn", "debug", "step", "answer", "question", "phone"),
        *("tel", "email", "e-mail", "address", "website", "url", "date", "time", "subject", "title", "summary"),
        *("total", "price", "name", "category", "tags", "keywords", "re", "fwd", "from", "to", "cc", "ps"),
        *("p.s", "注意", "注", "备注", "提示", "温馨提示", "友情提示", "说明", "例如", "比如", "电话", "手机"),
        *("邮箱", "地址", "网址", "时间", "日期", "标题", "主题", "步骤", "总结", "价格", "合计", "名称"),
        *("姓名", "分类", "类别", "标签", "关键词", "内容", "链接", "来源", "作者", "編集", "備考", "住所"),
        *("電話", "備註", "地點", "地点", "方法", "原因", "结果", "结论", "答案", "问题"),
    )
)


def side_of(name: str) -> Side | None:
    """Which side a name tells of; None for a person's name."""
    if len(name) > _LONGEST_NAME:
        return None
    if _NOTICES.search(name) or name in ("系统", "系統", "システム", "system"):
        return "system"
    if _NOT_PEOPLE.search(name):
        return None
    account, colon, person = name.partition(":")
    if colon:  # a shop's account, and who sits at it
        return side_of(account) or side_of(person) or "assistant"
    for side, words in _CJK_SIDES:
        if name.startswith(words) or name.endswith(words):
            return side
    tokens = re.split(r"[\s_#.&'()\d]+", name)
    return next((side for side, words in _LATIN_SIDES if not words.isdisjoint(tokens)), None)


def is_exactly_known(name: str) -> bool:
    """True for a name that is only the word for a side, so that it needs no colon: "User", 客服, AI Assistant 2."""
    bare = re.sub(r"^(?:人工|在线|智能|ai)(?=.)|[\s\d号]+$", "", name)
    if bare in _ASSISTANT_NAMES or bare in _USER_NAMES:
        return True
    words = [word for word in re.split(r"[\s_#]+", bare) if word]
    return bool(words) and (_ASSISTANT_WORDS | _USER_WORDS).issuperset(words)


def folded_name(name: str) -> str:
    """A name without case, width, bold marks and a number in parentheses: "User" and "user" speak as one."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.sub(r"\(\d+\)$|[*_`]", "", name).split())


def is_name(name: str) -> bool:
    """True for what may be a speaker's name before a colon: no number, no sentence, no "Note" or "http"."""
    return name not in _NO_NAMES and not name.isdecimal() and len(name.split()) <= 4


def is_notice(name: str) -> bool:
    """True for what a chat's program says in place of a name: "客服已接入"."""
    return _NOTICES.search(name) is not None
