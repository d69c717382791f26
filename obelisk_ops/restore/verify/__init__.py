"""Reading every object of a replica: is it whole, is it in its place, what does it cost."""
