"""Where recipients are known from: one file a kind of source."""
