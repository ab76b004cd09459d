"""Bringing mail home: claims, pacing, connections, outcomes."""
