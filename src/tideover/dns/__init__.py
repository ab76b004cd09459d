"""DNS: look-ups with their three kinds of no, and a cache of answers."""
