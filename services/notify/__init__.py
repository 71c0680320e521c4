"""The notify room: messages to everyone whose account, group or binding changed (domain §9)."""
