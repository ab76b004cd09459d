"""The hashed feed: a signed list of recipients that can be asked but not read. See docs/feed.md."""
