"""Taking mail in: listeners and connections around `smtp.ServerSession`."""
