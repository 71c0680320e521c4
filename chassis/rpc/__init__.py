"""gRPC: servers and channels with deadlines, health and the one map between failures and statuses."""
