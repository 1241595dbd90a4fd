"""One good file of every kind, to be broken."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.fuzz.binary_workbooks import binary_workbook

MAX_SEED_BYTES = 200_000
XLSX_PARTS = ("xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/sharedStrings.xml")

_PAIRS = [
    ("几点开门？", "每天上午九点，周日休息。"),
    ("How do I return a lamp?", "Send it back within 7 days.\nWe pay the postage."),
    ("Прайс?", "Цена 10 €, смотрите «каталог»."),
    ("=1+1", "+86 138 0000 0000, a@b.example"),
    ("{{name}} 好吗", "<p>好 &amp; fine</p>"),
]


def seeds(shared: Path | None = None) -> dict[str, bytes]:
    """File name -> bytes.

    Args:
        shared: a folder of real files; those under 200 KB are taken, too.
    """
    found = {**_json_files(), **_text_files(), **_zipped_files(), **_parquet_file(), **_old_workbook()}
    if shared is not None and shared.is_dir():
        small = (p for p in sorted(shared.iterdir()) if p.is_file() and p.stat().st_size < MAX_SEED_BYTES)
        found |= {p.name: p.read_bytes() for p in small if p.suffix != ".md"}
    return found


def _lines(values: list[Any]) -> bytes:
    return "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values).encode()


def _json_files() -> dict[str, bytes]:
    alpaca = [{"instruction": q, "input": "", "output": a} for q, a in _PAIRS]
    chat = [{"role": r, "content": t} for q, a in _PAIRS[:3] for r, t in (("user", q), ("assistant", a))]
    messages = [{"messages": [{"role": "system", "content": "Be kind."}, *chat[: 2 * n]]} for n in (1, 2, 3)]
    parts = {"messages": [{**m, "content": [{"type": "text", "text": m["content"]}], "weight": 1} for m in chat]}
    call = {"from": "function_call", "value": json.dumps({"name": "find", "arguments": {"q": "灯"}})}
    sharegpt: dict[str, Any] = {"conversations": [{"from": "human", "value": "有灯吗"}, call]}
    sharegpt["conversations"] += [{"from": "observation", "value": "[]"}, {"from": "gpt", "value": "没有。"}]
    sharegpt["tools"] = json.dumps([{"name": "find", "parameters": {"type": "object", "properties": {}}}])
    tool = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}
    openai = [chat[0], {"role": "assistant", "content": None, "tool_calls": [tool]}]
    openai += [{"role": "tool", "tool_call_id": "1", "content": "3"}, {"role": "assistant", "content": "Three."}]
    kto = [{"messages": chat[:2], "label": True}, {"messages": chat[2:4], "label": False}]
    chosen = [{"instruction": q, "chosen": a, "rejected": "no"} for q, a in _PAIRS]
    history = [{"query": "q", "response": "a", "history": [["x", "y"]], "system": "s"}]
    xtuner = [{"conversation": [{"system": "s", "input": q, "output": a} for q, a in _PAIRS[:2]]}]
    return {
        "alpaca.jsonl": _lines(alpaca),
        "alpaca.json": json.dumps(alpaca, ensure_ascii=False, indent=1).encode(),
        "messages.jsonl": _lines([*messages, parts]),
        "sharegpt.json": json.dumps([sharegpt], ensure_ascii=False).encode(),
        "openai.jsonl": _lines([{"messages": openai, "tools": [tool]}]),
        "kto.jsonl": _lines(kto),
        "chosen.jsonl": _lines(chosen),
        "history.jsonl": _lines(history),
        "xtuner.json": json.dumps(xtuner, ensure_ascii=False).encode(),
    }


def _csv(delimiter: str) -> str:
    quoted = ([q, a.replace('"', '""')] for q, a in _PAIRS)
    rows = "".join(f'"{q}"{delimiter}"{a}"\r\n' for q, a in quoted)
    return f"问题{delimiter}答案\r\n{rows}"


def _text_files() -> dict[str, bytes]:
    speakers = "".join(f"2024-03-0{n} 10:3{n} 客户：{q}\n客服：{a}\n" for n, (q, a) in enumerate(_PAIRS, start=1))
    chats = "会话ID,时间,角色,内容\n" + "".join(
        f"{n // 4},10:{n:02},{'客户' if n % 2 else '客服'},第{n}句\n" for n in range(12)
    )
    labels = "text,label\n" + "".join(
        f"this is text number {n} about cards,{'good' if n % 3 else 'bad'}\n" for n in range(40)
    )
    return {
        "faq.csv": _csv(",").encode("utf-8-sig"),
        "faq_gb.csv": _csv(",").encode("gb18030"),
        "faq_big5.csv": "問題,答案\n幾點開門？,上午九點。\n可以退貨嗎？,七天內可以。\n".encode("big5"),
        "faq_16.csv": _csv("\t").encode("utf-16"),
        "faq_semicolon.csv": _csv(";").encode(),
        "chats.csv": chats.encode(),
        "labels.csv": labels.encode(),
        "qa.txt": "".join(f"Q: {q}\nA: {a}\n\n" for q, a in _PAIRS).encode(),
        "numbered.txt": "常见问题\r\n\r\n".encode()
        + "".join(f"{n}. {q}\r\n{a}\r\n" for n, (q, a) in enumerate(_PAIRS, start=1)).encode(),
        "blocks.md": ("# FAQ\n\n" + "".join(f"## {q}\n\n{a}\n\n" for q, a in _PAIRS)).encode(),
        "log.txt": speakers.encode(),
    }


def _workbook() -> bytes:
    from openpyxl import Workbook

    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(["2024 年常见问题汇总"])
    sheet.merge_cells("A1:C1")
    sheet.append([])
    sheet.append(["分类", "问题", "答案"])
    for n, (q, a) in enumerate(_PAIRS):
        sheet.append(["订单" if n == 0 else None, q, a])
    sheet.merge_cells("A4:A8")
    sheet.append(["合计", 1234567890123456789, "=SUM(1,2)"])
    hidden = workbook.create_sheet("旧")
    hidden.append(["q", "a"])
    hidden.sheet_state = "hidden"
    chats = workbook.create_sheet("chats")
    for row in (
        ["会话ID", "角色", "内容"],
        [1, "客户", "在吗"],
        [None, "客服", "在的"],
        [2, "客户", "?"],
        [2, "客服", "!"],
    ):
        chats.append(row)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def _zipped(parts: Mapping[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:"


def _document() -> bytes:
    def paragraph(text: str) -> str:
        return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"

    plain = "".join(paragraph(f"Q: {q}") + paragraph(f"A: {a}") for q, a in (("How?", "So."), ("几点？", "九点。")))
    rows = "".join(
        f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>"
        for row in (("问题", "答案"), ("几点开门？", "九点。"), ("几点关门？", "八点。"))
    )
    body = f'<w:document xmlns:w="{_WORD}"><w:body>{plain}<w:tbl>{rows}</w:tbl></w:body></w:document>'
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    types = f'<Types xmlns="{_TYPES}"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    types += f'relationships+xml"/><Override PartName="/word/document.xml" ContentType="{main}"/></Types>'
    relation = f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="r" Type="{_OFFICE}/officeDocument" '
    relation += 'Target="word/document.xml"/></Relationships>'
    return _zipped({"[Content_Types].xml": types, "_rels/.rels": relation, "word/document.xml": body})


def _open_document() -> bytes:
    def cell(text: str) -> str:
        return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'

    rows = "".join(
        f"<table:table-row>{cell(q)}{cell(a)}</table:table-row>" for q, a in (("question", "answer"), ("How?", "So."))
    )
    spaces = "".join(f' xmlns:{name}="{_TABLE}{name}:1.0"' for name in ("office", "table", "text"))
    sheet = f'<table:table table:name="S">{rows}</table:table>'
    body = f"<office:body><office:spreadsheet>{sheet}</office:spreadsheet></office:body>"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    entry = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
    manifest = f'<manifest:manifest {entry}><manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
    content = f"<office:document-content{spaces}>{body}</office:document-content>"
    parts = {"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": f"{manifest}</manifest:manifest>"}
    return _zipped(parts)


def _binary_workbook() -> bytes:
    """Texts in two columns, and beside them numbers, one of which has lost its last digits, and a yes."""
    values = (1.5, True, 1234567890123456789.0, -3, 45292.0)
    cells: dict[tuple[int, int], str | float | bool] = {(0, 0): "question", (0, 1): "answer", (0, 2): "number"}
    for row, ((question, answer), value) in enumerate(zip(_PAIRS, values, strict=True), start=1):
        cells |= {(row, 0): question, (row, 1): answer, (row, 2): value}
    return binary_workbook(cells)


def _zipped_files() -> dict[str, bytes]:
    bundle = {
        "a/faq.csv": _csv(","),
        "b.jsonl": '{"q": "x", "a": "y"}\n',
        "__MACOSX/._b": "x",
        "picture.png": b"\x89PNG",
    }
    return {
        "book.xlsx": _workbook(),
        "faq.docx": _document(),
        "faq.ods": _open_document(),
        "faq.xlsb": _binary_workbook(),
        "bundle.zip": _zipped(bundle),
    }


def _parquet_file() -> dict[str, bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pa.table({"question": [q for q, _ in _PAIRS], "answer": [a for _, a in _PAIRS]}), file)
    return {"faq.parquet": file.getvalue()}


def _old_workbook() -> dict[str, bytes]:
    """An .xls, where the package that writes them is installed."""
    try:
        import xlwt  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return {}
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("S")
    for r, row in enumerate((("question", "answer"), *_PAIRS)):
        for c, text in enumerate(row):
            sheet.write(r, c, text)
    file = io.BytesIO()
    workbook.save(file)
    return {"faq.xls": file.getvalue()}
