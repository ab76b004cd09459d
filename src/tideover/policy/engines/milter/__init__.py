"""Milters: the MTA's side of sendmail's filter protocol, version 6."""
