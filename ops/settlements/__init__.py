"""The command `gongji settlement`: what was settled, and why each fen is what it is."""
