"""How lists of recipients are written: one file a format, each from bytes to a `ListBuilder`."""
