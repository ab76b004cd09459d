"""The SMTP protocol, sans I/O: no socket, clock, log or policy; standard library only."""
