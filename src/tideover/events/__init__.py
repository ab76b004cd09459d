"""One typed record a happening; logs are sinks of the same stream."""
