"""Events: what runs count besides rows."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.add_column(
        "runs",
        sa.Column(
            "batches",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="what its accepted rows were sent in",
        ),
    )
