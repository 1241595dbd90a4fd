"""Tiny real-architecture models and throwaway data, shipped so that users can test too."""
