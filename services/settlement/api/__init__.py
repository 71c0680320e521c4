"""The gRPC face of the settlement room: parse, operate, render."""
