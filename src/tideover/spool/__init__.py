"""Durable messages and the state of each recipient, behind one interface."""
