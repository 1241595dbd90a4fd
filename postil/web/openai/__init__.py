"""What `openai` clients speak: chat and models, in front of the private process that answers."""
