"""Whether a DSN may be sent, and its text."""
