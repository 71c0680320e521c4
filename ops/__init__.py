"""The `gongji` command: what a person types. It may import everything; nothing imports it but tests."""
