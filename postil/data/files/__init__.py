"""From bytes to rows: encodings, tables, workbooks, documents and archives, each read within limits."""
