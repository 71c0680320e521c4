"""`gongji verify`: what must hold after any fault (docs/protocol.md), counted over all databases."""
