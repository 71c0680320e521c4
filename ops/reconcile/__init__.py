"""``gongji reconcile``: an institution's day beside ours, what differs, and what an officer decides of it."""
