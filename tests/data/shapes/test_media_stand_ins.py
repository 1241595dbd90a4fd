import pytest

from postil.data.shapes.media_stand_ins import is_stand_in, is_withdrawal

STAND_INS = [
    *(
        "[图片]",
        "【语音】",
        "[图片][图片]",
        "[图片] x2",
        "[文件]合同.pdf",
        "（图片）",
        "[圖片]",
        "[スタンプ]",
        "[Sticker]",
    ),
    *("<Media omitted>", "<Medien ausgeschlossen>", "<Multimedia omitido>", "\u200eimage omitted", "GIF omitted"),
    *("Bild weggelassen", "sticker omitted", "imagen omitida", "report.pdf • 3 pages document omitted"),
    *("IMG-20240501-WA0001.jpg (file attached)", "<attached: 00000012-PHOTO-2024.jpg>", " [图片]\n"),
]
WITHDRAWALS = [
    *(
        "小美撤回了一条消息",
        '"小美" 撤回了一条消息',
        "你撤回了一条消息",
        "对方撤回了一条消息。",
        "该消息已被撤回",
        "此消息已删除",
    ),
    *("This message was deleted", "This message was deleted.", "You deleted this message", "Anna deleted a message"),
    *("This message has been deleted", "Diese Nachricht wurde gelöscht.", "Du hast diese Nachricht gelöscht"),
]
SAID = [
    *(
        "图片",
        "[微笑]",
        "看图 [图片]",
        "[图片] 这个多少钱",
        "sticker",
        "video",
        "[link](http://x)",
        "[1]",
        "",
        "报告.pdf",
    ),
    *("You can delete this message", "The image was omitted from the report", "已撤回", "This message"),
    *("您撤回了申请吗", "我不小心撤回了一条消息，您看到了吗", "(see the video)", "You deleted this", "[图片]" * 40),
]


@pytest.mark.parametrize("text", STAND_INS)
def test_what_a_program_leaves_for_media(text: str) -> None:
    assert is_stand_in(text) and not is_withdrawal(text)


@pytest.mark.parametrize("text", WITHDRAWALS)
def test_what_a_program_says_of_a_withdrawn_message(text: str) -> None:
    assert is_stand_in(text) and is_withdrawal(text)


@pytest.mark.parametrize("text", SAID)
def test_what_somebody_says(text: str) -> None:
    assert not is_stand_in(text)
