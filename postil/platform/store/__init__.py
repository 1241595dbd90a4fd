"""Where everything is kept: the database, the files, their copies, and secrets."""
