"""The `gongji` command: what a person types. It may import everything; nothing imports it but tests."""

import os

# Children are started while gRPC channels are open. gRPC's own handlers of fork(), of no use before an exec, would
# write complaints into the child's standard error, which is its log; gRPC reads this variable when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
