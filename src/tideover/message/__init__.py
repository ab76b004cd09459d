"""Values that describe a message, and pure renderers of trace headers and DSNs."""
