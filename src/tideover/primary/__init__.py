"""What we know of a domain's primary: routes from configuration and DNS."""
