"""`gongji identity ...`: what an insurance office does with whole files."""
