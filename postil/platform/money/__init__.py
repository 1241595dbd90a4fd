"""Prices, the bill, and the proof that it adds up."""
