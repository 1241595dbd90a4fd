"""Files of users: uploaded, checked, edited in numbered versions, and handed on to runs."""
