"""gRPC: servers and channels with deadlines, health and the one map between failures and statuses."""

import os

# The core's own lines on stderr are not JSON; what they say reaches us as exceptions and statuses.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
