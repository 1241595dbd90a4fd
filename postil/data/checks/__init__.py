"""What is wrong in rows and between them, and how a machine can mend it."""
