"""Where jobs run: the Celery worker, its slots, and a process of its own for each job."""
