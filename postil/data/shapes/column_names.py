"""Names that columns of tables and fields of JSON go by, folded as `normalize_name` folds them.

Earlier names win where a record has several: a table with "user" and "question" keeps names in the first.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


QUESTIONS = _words(
    "instruction question questions prompt query ask user_question user_input human user customer "
    "问题 提问 用户问题 客户问题 顾客问题 用户提问 客户提问 标准问题 标准问 问法 问句 问题内容 问题描述 提问内容 "
    "咨询内容 咨询 问 指令 用户 客户 顾客 用户输入 "
    "問題 提問 用戶問題 客戶問題 標準問題 問句 用戶 客戶 顧客 指示 質問 質問内容 質問文 ご質問 "
    "お問い合わせ お問い合わせ内容  "
    "题目 题干 題目 input 输入 輸入 入力 q"
)
ANSWERS = _words(
    "output answer answers response completion reply assistant gpt agent bot ai "
    "答案 回答 标准答案 参考答案 标准回答 客服回复 客服回答 机器人回复 回复 答复 解答 回复内容 回答内容 "
    "答案内容 答复内容  "
    "答 客服 助手 输出 标准话术 回复话术 "
    "標準答案 客服回覆 回覆 答覆 回覆內容 助手 輸出 回答文 答え ご回答 返答 返信 応答 出力 a"
)
EXTRA_INPUTS = _words("input 输入 輸入 入力 context")
SYSTEMS = _words(
    "system system_prompt system_message 系统 系统提示 系统提示词 系统指令 系统消息 系統 系統提示 "
    "系統提示詞 システム  "
    "システムプロンプト"
)
HISTORIES = _words("history 历史 历史对话 对话历史 歷史 對話歷史 履歴")
TURN_LISTS = _words("messages conversations conversation dialogue dialog chat utterances turns 对话 對話")
TOOLS = _words("tools functions")
REJECTED = _words(
    "rejected reject rejected_response rejected_output rejected_answer rejected_completion "
    "rejected_messages non_preferred_output"
)
CHOSEN = _words("chosen chosen_response preferred_output")
KTO_LABELS = _words("label kto_tag kto_label")

SESSIONS = _words(
    "session_id session sessionid conversation_id conversationid conv_id dialog_id dialogue_id dialogid "
    "chat_id chatid  "
    "thread_id ticket_id 会话id 会话编号 会话号 会话序号 会话 对话id 对话编号 对话号 对话序号 对话组 "
    "聊天id 聊天编号 工单号 工单id  "
    "會話id 會話編號 會話 對話id 對話編號 セッションid セッション 会話id 会話番号"
)
NUMBERS = _words("序号 编号 序號 編號 番号 no no. number id 组 组号 #")
"""Keys that make a chat only where they are blank or merged in the rows that follow; otherwise they count rows."""

DIRECTIONS = _words("message_direction msg_direction direction 消息方向 收发方向 收发类型")
"""Tell who speaks by which way a message went; beside labels they are something else."""
SPEAKERS = _words(
    "role sender_role sender_type speaker_role speaker_type author_role author_type user_type participant_type "
    f"{' '.join(DIRECTIONS)} "
    "speaker author sender from 角色 说话人 说话者 发言人 发言者 发送人 发送者 发送方 "
    "身份 对话角色 说话角色  "
    "說話人 發言人 發送者 話者 発話者 役割"
)
CONTENTS = _words(
    "content text message utterance value msg body 内容 消息 消息内容 聊天内容 对话内容 发言 发言内容 "
    "发送内容 文本 话语  "
    "內容 訊息 訊息內容 對話內容 發言 発話 発言 メッセージ"
)
TIMES = _words(
    "time timestamp datetime date created_at create_time send_time sent_at message_time "
    "时间 日期 发送时间 消息时间 创建时间 对话时间 聊天时间 時間 發送時間 日時 時刻 送信日時"
)

TEXTS = _words(
    "text sentence review content comment tweet utterance message document passage headline "
    "文本 句子 语句 评论 评论内容 内容 评价 评价内容 留言 正文 用户评论 短文本 文本內容 文本内容 評論 "
    "內容 留言內容 テキスト 文 レビュー"
)
"""What a classification table puts labels on; a column of questions without answers may be that too."""

LABELS = _words(
    "label labels intent class sentiment emotion polarity target 标签 意图 情感 情感倾向 情绪 標籤 意圖 "
    "ラベル 意図 感情"
)
WEAK_LABELS = _words("category categories topic 类别 分类 类型 主题 類別 分類 類型 カテゴリ カテゴリー")
"""Labels beside a text; beside questions without answers they are only its order, and the answers are missing."""

OTHERS = _words(
    "备注 備註 说明 說明 来源 來源 状态 狀態 部门 部門 负责人 負責人 更新时间 更新時間 更新日期 "
    "关键词 關鍵詞 链接 鏈接 语言 語言 渠道 优先级 優先級 版本 产品 產品 "
    "source url link note notes remark remarks comment comments status owner department updated keywords tags "
    "language channel priority version product 備考 出典 状況 担当者 "
)
"""What tables have beside questions and answers and nobody learns."""

PURPOSES = (QUESTIONS, ANSWERS, SYSTEMS, SESSIONS, SPEAKERS, CONTENTS, TIMES, TEXTS, (*LABELS, *WEAK_LABELS))

QUESTION_ENDINGS = (
    *(
        "问题",
        "提问",
        "疑问",
        "问句",
        "问法",
        "咨询",
        "相似问",
        "扩展问",
        "同义问",
        "問題",
        "提問",
        "質問",
        "問い合わせ",
    ),
)
ANSWER_ENDINGS = (
    *("答案", "回答", "回复", "答复", "解答", "话术", "解决方案", "解决方法", "解决办法", "处理方法", "处理办法"),
    *("回覆", "答覆", "解決方案", "返答"),
)
QUESTION_TOKENS = frozenset(("question", "questions", "query", "instruction", "prompt"))
ANSWER_TOKENS = frozenset(("answer", "answers", "response", "reply", "completion", "solution", "resolution"))
CUSTOMERS = (
    "客户",
    "用户",
    "顾客",
    "访客",
    "买家",
    "客戶",
    "用戶",
    "顧客",
    "customer_",
    "user_",
    "client_",
    "visitor_",
)
AGENTS = ("客服", "坐席", "商家", "卖家", "店家", "agent_", "assistant_", "bot_", "support_", "operator_")
SAID_ENDINGS = (
    "话术",
    "話術",
    "消息",
    "内容",
    "訊息",
    "內容",
    "说",
    "話",
    "message",
    "text",
    "msg",
    "content",
    "utterance",
)
"""A column that begins with one of the two sides and ends so holds what that side says."""
CONTENT_TOKENS = frozenset(("message", "msg", "body", "text", "content", "comment", "utterance"))
CONTENT_ENDINGS = ("消息", "内容", "訊息", "內容")
"""What is said, beside a column that says who speaks."""
NOT_A_TEXT_TOKENS = frozenset(
    (
        *("id", "ids", "no", "type", "number", "date", "time", "count", "category", "score", "by", "author", "status"),
        *("lang", "language", "source", "url", "link", "tag", "tags", "len", "length", "rejected", "reject", "chosen"),
        *(
            "from",
            "start",
            "end",
            "span",
            "history",
            "previous",
            "paraphrased",
            "template",
            "label",
            "rating",
            "quality",
            "level",
            "num",
            "index",
        ),
    )
)
"""Parts of a name that make it say something about a question or an answer, rather than hold one."""
