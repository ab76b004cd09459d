"""What a primary has to be told of us: texts to paste into its configuration, one file a server."""
