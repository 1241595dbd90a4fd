"""Messages that nobody wrote: stand-ins for pictures, recordings, withdrawn messages, and a messenger's notices."""

import re

from postil.data.shapes.text_lines import BLANKS

_LONGEST = 120

_MEDIA = (
    r"(?:图片|图像|照片|相片|图文|语音|音频|录音|视频|短视频|文件|附件|表情|动画表情|表情包|自定义表情|动图|贴纸|位置"
    r"|名片|链接|小程序|红包|转账|聊天记录|合并转发|卡片消息|商品链接|闪照|语音消息|图片消息|视频消息|文件消息"
    r"|语音通话|视频通话|不支持的消息类型|圖片|語音|音訊|影片|視頻|檔案|貼圖|語音訊息|連結|写真|動画|スタンプ|ファイル"
    r"|ボイスメッセージ|사진|동영상|이모티콘|파일"
    r"|images?|photo|picture|pic|video|audio|voice|(?:voice|video) (?:message|note)|sticker|gif|file|document"
    r"|attachment|media|location|contact card|bild|foto|dokument|datei|sprachnachricht|imagen|documento"
    r"|archivo|vidéo|fichier|immagine|imagem|vídeo|áudio|figurinha)"
)
_FILE_NAME = r"[^\s<>|\[\]][^<>|\[\]\n]{0,80}\.\w{2,5}"
_IN_BRACKETS = rf"(?:[\[【<(（]\s*{_MEDIA}\s*[\]】>)）]\s*(?:[x×]\s*\d+\s*)?)+(?:{_FILE_NAME})?"
_LEFT_OUT = (
    rf"(?:{_FILE_NAME}.{{0,30}} )?{_MEDIA} (?:omitted|not included|weggelassen|ausgelassen|ausgeschlossen"
    r"|omitid[oa]|absente?|omise?|omess[oa]|ocultad[oa])"
    r"|<(?:media omitted|medien (?:ausgeschlossen|weggelassen)|multimedia omitido|(?:fichier )?médias? omis"
    r"|media omessi|m[ií]dia oculta|media weggelaten|без медиафайлов|媒体文件已忽略|已忽略媒体|省略多媒体文件"
    r"|已省略多媒体文件|略過多媒體檔|已略過多媒體檔案|メディアは含まれていません)>"
    rf"|{_FILE_NAME} \((?:file attached|datei angehängt|archivo adjunto|fichier joint|file allegato|arquivo anexado"
    r"|文件附件|檔案附件)\)"
    rf"|<(?:attached|anhang|adjunto|pièce jointe|allegato|anexado|附件)\s*[:：]\s*{_FILE_NAME}>"
)
_BY_WHOM = r"[^:：，,。.！!？?\n]{1,30}?"
_WITHDRAWN = re.compile(
    rf"{_BY_WHOM}\s*(?:撤回|收回|删除|刪除)了?一[条條则則](?:消息|訊息)"
    rf"|{_BY_WHOM}(?:已收回訊息|がメッセージの送信を取り消しました)"
    r"|(?:此|该|這則|这条)(?:条|則)?(?:消息|訊息)(?:已|已经|已經)?被?(?:撤回|收回|删除|刪除)"
    rf"|(?:this message (?:was|has been)|{_BY_WHOM} (?:has )?(?:deleted|unsent|recalled) (?:this|a)) ?"
    r"(?:(?<=a |s )message|(?<=s |n )(?:deleted|unsent|recalled)(?: by .{1,30})?)"
    r"|diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|se eliminó este mensaje|eliminaste este mensaje"
    r"|este mensaje fue eliminado|ce message a été supprimé|vous avez supprimé ce message|mensagem apagada"
    r"|(?:essa|você apagou essa) mensagem(?: foi apagada)?|questo messaggio è stato eliminato",
    re.IGNORECASE,
)
# Some messengers write it in the name of the person or shop whom the chat is with.
_ENCRYPTED = re.compile(
    r"(?:messages (?:and calls|you send|to this chat|in this chat)|消息和(?:通话|通話)|訊息和通話"
    r"|nachrichten und anrufe"
    r"|los mensajes y las llamadas|les messages et les appels|as mensagens e (?:as )?(?:ligações|chamadas)"
    r"|i messaggi e le chiamate|メッセージと通話)[^\n]{0,60}(?:end-to-end|端到端|端對端|ende-zu-ende|extremo a extremo"
    r"|bout en bout|ponta a ponta|エンドツーエンド)",
    re.IGNORECASE,
)
_SPEAKS_OF_MESSAGE = re.compile(r"消息|訊息|メッセージ|me[ns]s|nachricht", re.IGNORECASE)
_STAND_IN = re.compile(rf"(?:{_IN_BRACKETS}|{_LEFT_OUT})", re.IGNORECASE)
_AROUND = BLANKS + "\"'“”「」.。"


def is_stand_in(text: str) -> bool:
    """True for a text that is nothing but a stand-in: "[图片]", "<Media omitted>", "This message was deleted"."""
    if len(text) > _LONGEST:
        return False
    bare = text.strip(BLANKS).rstrip(".。")
    return _STAND_IN.fullmatch(bare) is not None or is_withdrawal(bare)


def is_withdrawal(text: str) -> bool:
    """True for what a program says of a message that somebody took back: "小美撤回了一条消息"."""
    if len(text) > _LONGEST or _SPEAKS_OF_MESSAGE.search(text) is None:
        return False
    return _WITHDRAWN.fullmatch(text.strip(_AROUND)) is not None


def is_messenger_notice(text: str) -> bool:
    """True for what a messenger says at the top of a chat: "Messages and calls are end-to-end encrypted. ..."."""
    return _ENCRYPTED.match(text.strip(_AROUND)) is not None
