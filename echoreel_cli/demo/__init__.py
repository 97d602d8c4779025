"""The whole path on videos that are drawn on the spot, told as one page and one picture."""
