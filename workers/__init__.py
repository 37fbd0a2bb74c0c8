"""Run jobs: the Celery worker, its slots, and a separate process for each job."""
