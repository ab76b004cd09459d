"""Beside the primary: says, when a backup asks, whether a client can be reached from there."""
