"""gRPC: servers and channels with deadlines, health and the one map between failures and statuses."""

import os

# The core's own lines on stderr are not JSON; what they say reaches us as exceptions and statuses.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# The core's new engine hands every call through threads of its own; without it a call costs a fifth less (ADR 19).
os.environ.setdefault(
    "GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener,-event_engine_for_all_other_endpoints"
)
