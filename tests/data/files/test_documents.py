import zipfile
from pathlib import Path

import pytest

from postil.data.files.documents import Line, read_document
from postil.errors import DataError
from tests.data.files.office import cell, paragraph, table, write_docx, write_zip

STYLES = {
    "word/styles.xml": '<w:ROOT><w:style w:styleId="1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:styleId="T"><w:name w:val="toc 1"/></w:style>'
    '<w:style w:styleId="L"><w:name w:val="List Number"/><w:numPr><w:numId w:val="2"/></w:numPr></w:style>'
    "</w:ROOT>"
}


def level(number: int, kind: str, text: str) -> str:
    return f'<w:lvl w:ilvl="{number}"><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/></w:lvl>'


LISTS = {
    "word/numbering.xml": "<w:ROOT>"
    f'<w:abstractNum w:abstractNumId="0">{level(0, "decimal", "%1.")}{level(1, "decimal", "%1.%2")}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="1">{level(0, "decimal", "Q%1:")}{level(1, "lowerLetter", "%2)")}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="2">{level(0, "bullet", "·")}</w:abstractNum>'
    '<w:num w:numId="2"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="3"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="4"><w:abstractNumId w:val="2"/></w:num></w:ROOT>'
}


def lines(path: Path) -> list[tuple[int, str]]:
    return [(line.number, line.text) for line in read_document(path)[0]]


def texts(path: Path, body: str, others: dict[str, str] | None = None) -> list[str]:
    return [text for _, text in lines(write_docx(path, body, others or {}))]


def test_paragraphs_are_numbered_lines(tmp_path: Path) -> None:
    body = paragraph("Q: How?") + "<w:p/>" + "<w:p><w:r><w:t>A: so</w:t><w:br/><w:t>and so</w:t></w:r></w:p>"
    found, tables = read_document(write_docx(tmp_path / "a.docx", body))
    assert found == (Line(1, "Q: How?"), Line(2, ""), Line(3, "A: so"), Line(3, "and so")) and tables == ()


def test_lists_show_their_marks_as_word_does(tmp_path: Path) -> None:
    body = (
        *(paragraph("first", number=2), paragraph("inner", number=2, level=1), paragraph("more", number=2, level=1)),
        *(paragraph("second", number=2), paragraph("again", number=2, level=1)),
        *(paragraph("How?", number=3), paragraph("a choice", number=3, level=1), paragraph("dot", number=4)),
        *(paragraph("by style", style="L"), paragraph("left the list", style="L", number=0)),
        *(paragraph("unknown list", number=77), paragraph("", number=2), paragraph("not counted", number=2)),
    )
    assert texts(tmp_path / "a.docx", "".join(body), STYLES | LISTS) == [
        *("1. first", "1.1 inner", "1.2 more", "2. second", "2.1 again"),
        *("Q1: How?", "A) a choice", "- dot", "3. by style", "left the list", "1. unknown list", "", "4. not counted"),
    ]


def test_headings_are_marked_and_tables_of_contents_left_out(tmp_path: Path) -> None:
    body = paragraph("Shipping ... 3", style="T") + paragraph("Shipping", style="1") + paragraph("x", style="Heading2")
    assert texts(tmp_path / "a.docx", body, STYLES) == ["", "# Shipping", "# x"]


def test_tables_are_rows_with_merged_cells_filled(tmp_path: Path) -> None:
    down, goes_on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    body = paragraph("before") + table(
        [
            ["topic", "question", "answer"],
            [cell("goods", down), "q1", "a1"],
            [cell("", goes_on), "q2", "a2\n"],
            [cell("over three", '<w:gridSpan w:val="3"/>')],
        ]
    )
    ((found,), (made,)) = read_document(write_docx(tmp_path / "a.docx", body))
    assert (found.text, made.title, made.after) == ("before", "Table 1", 1)
    assert [row.cells for row in made.rows][1:] == [
        ("goods", "q1", "a1"),
        ("goods", "q2", "a2"),
        ("over three",) * 3,
    ]
    assert [(row.number, row.continued, row.spread) for row in made.rows][2:] == [(3, (0,), ()), (4, (), (1, 2))]


def test_the_place_of_each_table_is_kept(tmp_path: Path) -> None:
    body = table([["a"]]) + paragraph("one") + paragraph("two") + table([["b"]]) + table([["c"]])
    _, tables = read_document(write_docx(tmp_path / "a.docx", body))
    assert [(t.title, t.after) for t in tables] == [("Table 1", 0), ("Table 2", 2), ("Table 3", 2)]


def test_a_table_in_a_cell_is_text_of_the_cell(tmp_path: Path) -> None:
    inner = f"<w:tc>{paragraph('see')}{table([['x', 'y'], ['1', '2']])}{paragraph('end')}</w:tc>"
    _, (made,) = read_document(write_docx(tmp_path / "a.docx", table([["q", inner]])))
    assert made.rows[0].cells == ("q", "see\nx\ty\n1\t2\nend")


def test_nothing_is_said_twice_and_nothing_that_was_struck_out(tmp_path: Path) -> None:
    body = (
        "<w:p><w:pPr><w:tabs><w:tab w:val='left' w:pos='720'/></w:tabs></w:pPr>"
        "<w:r><w:t>keep</w:t><w:tab/></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>added</w:t></w:r></w:ins><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:r><w:instrText>PAGE</w:instrText><w:noBreakHyphen/></w:r>"
        "<w:ruby><w:rt><w:r><w:t>かん</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>漢</w:t></w:r></w:rubyBase></w:ruby>"
        "<w:Choice><w:r><w:t> box</w:t></w:r></w:Choice><w:Fallback><w:r><w:t> box</w:t></w:r></w:Fallback></w:p>"
    )
    assert texts(tmp_path / "a.docx", body) == ["keep\tadded-漢 box"]


def test_a_text_box_stands_before_its_paragraph(tmp_path: Path) -> None:
    body = f"<w:p><w:r><w:t>around</w:t><w:txbxContent>{paragraph('inside')}</w:txbxContent></w:r></w:p>"
    assert texts(tmp_path / "a.docx", body) == ["inside", "around"]


def test_the_browsers_word_numbers_its_parts(tmp_path: Path) -> None:
    made = write_docx(tmp_path / "a.docx", paragraph("x"))
    with zipfile.ZipFile(made) as archive:
        xml = archive.read("word/document.xml")
    path = write_zip(tmp_path / "b.docx", {"[Content_Types].xml": "<Types/>", "word/document2.xml": xml})
    assert lines(path) == [(1, "x")]


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]><d><p><t>&d;</t></p></d>'
)


@pytest.mark.parametrize(
    "xml",
    [
        LAUGHS,
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d><p><t>&x;</t></p></d>',
        "<d>" * 500 + "</d>" * 500,
        "<d><p><t>not closed",
        "<d><tc><p/></tc></d>",
        "<d><tbl><p><t>a paragraph between rows</t></p></tbl></d>",
        "plain text",
    ],
)
def test_hostile_and_damaged_documents_are_refused(tmp_path: Path, xml: str) -> None:
    path = write_zip(tmp_path / "a.docx", {"[Content_Types].xml": "<Types/>", "word/document.xml": xml})
    with pytest.raises(DataError) as caught:
        read_document(path)
    assert caught.value.key == "data.broken_document"


def test_more_text_than_a_document_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.data.files.documents.MAX_TEXT_CHARS", 100)
    with pytest.raises(DataError):
        read_document(write_docx(tmp_path / "a.docx", paragraph("x" * 101)))
    monkeypatch.setattr("postil.data.files.document_parts.MAX_XML_BYTES", 10)
    with pytest.raises(DataError) as caught:
        read_document(write_docx(tmp_path / "a.docx", paragraph("x")))
    assert caught.value.key == "data.archive_too_big"
