"""The pages as people meet them: in a real browser, over a whole service with real runs."""
