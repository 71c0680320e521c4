"""The commands of ``gongji-terminal``, a file for each part of a cashier's day."""
