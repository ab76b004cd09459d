"""Who exists at the primary."""
