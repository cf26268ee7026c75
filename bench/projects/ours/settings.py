"""Settings: the broker, and defaults for everything else."""

import os

from bench.projects.common import DATABASES

__all__ = ["DATABASES"]

SECRET_KEY = "only for measuring"
USE_TZ = True
INSTALLED_APPS = ["stomplistener.contrib.django", "bench.projects.ours"]
STOMPLISTENER = {"URI": os.environ["BENCH_URI"]}
