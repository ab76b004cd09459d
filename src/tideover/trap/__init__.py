"""The last MX as a trap: a host that never takes mail, and remembers who comes."""
