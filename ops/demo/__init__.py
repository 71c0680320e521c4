"""`gongji demo`: the main job from end to end, on real processes, told as a story."""
