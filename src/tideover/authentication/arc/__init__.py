"""The Authenticated Received Chain: validated, and continued by a seal of ours (RFC 8617)."""
