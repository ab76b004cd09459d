"""The durable queue: one interface, its SQLite implementation and an in-memory one for tests."""
