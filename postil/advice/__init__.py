"""What to train with and why, what it will take, how far it is, and whether that was right. No torch anywhere."""
