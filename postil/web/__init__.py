"""The service over HTTP: REST under /api, chat under /v1. No torch, no SQL; what it knows it asks the platform."""
