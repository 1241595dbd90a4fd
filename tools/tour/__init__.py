"""Every page of the service with something on it: for screenshots, and for tests that hold on every page."""
