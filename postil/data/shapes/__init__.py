"""From rows to messages: which column, field or line says what."""
