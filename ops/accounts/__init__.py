"""`gongji accounts ...`: money in by the file, and the turn of the year."""
