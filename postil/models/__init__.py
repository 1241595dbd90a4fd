"""The only room that meets transformers and peft."""
