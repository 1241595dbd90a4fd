"""What Alembic runs: the revisions, over the connection and in the transaction of `migrating.py`."""

from typing import Any, Literal

from alembic import context

from postil.platform.store.tables import Table, UtcTime


def spell_type(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Revisions name no types of ours: these may change, and a revision never does."""
    if kind == "type" and isinstance(item, UtcTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    compare_type=True,
    render_as_batch=True,
    render_item=spell_type,
)
with context.begin_transaction():
    context.run_migrations()
