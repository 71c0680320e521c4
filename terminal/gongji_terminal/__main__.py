"""``python -m gongji_terminal``."""

from gongji_terminal.main import script

script()
