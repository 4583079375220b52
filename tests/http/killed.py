"""A service that restores and may be killed on the way; started by a test.

    python -m tests.http.killed STORE STATE DSN [OPTIONS]

OPTIONS is a JSON object. A failpoint in the environment says where it ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pgvector_restore.http.service import Service
from pgvector_restore.http.settings import ServiceSettings


def main(store: str, state: str, dsn: str, options: dict[str, Any]) -> None:
    service = Service(ServiceSettings.load(store=store, state_dir=Path(state), dsn=dsn))
    job = service.restore("latest", options=options, idempotency_key="one")
    print(service.jobs.wait(job.id).state)  # noqa: T201 - the test reads it
    service.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
