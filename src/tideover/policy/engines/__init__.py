"""Content filters that run beside us: rspamd, milters, ClamAV, SpamAssassin."""
