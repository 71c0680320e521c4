"""The gRPC face of identity: parse, operation, render."""
