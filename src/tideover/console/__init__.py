"""The HTTP interface, to which primaries push their feeds."""
