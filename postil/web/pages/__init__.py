"""Pages for people: forms and fragments over the same verbs of the platform that REST speaks with."""
