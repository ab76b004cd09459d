"""Whether mail is wanted: one file a check, one signature, and a chain that makes one decision."""
