"""Who sent a message, proved: SPF, DKIM, DMARC and ARC. Knows no policy and no connection."""
