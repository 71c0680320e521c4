"""SQL of identity, one module for each kind of thing; each function runs in the caller's transaction."""
