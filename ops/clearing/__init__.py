"""`gongji clearing`: what areas owe each other, month by month."""
