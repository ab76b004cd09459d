"""TOML to a typed model, all mistakes at once."""
