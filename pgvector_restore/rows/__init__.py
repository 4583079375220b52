"""Rows: bytes of a file to records, fields, clean cells, and the bytes COPY takes. No I/O."""
