"""The gRPC face of family: parse, operation, render."""
