"""Fakes for our tests and for other people's: clock, DNS, scripted SMTP peer, faulty disk."""
