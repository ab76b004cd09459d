"""One file a check. `catalogue` names them all."""
