"""The Celery tasks: each loads, calls one stage, saves, and sends the next message; none decides."""
