"""Runs into a store by workers that share nothing else with each other or with the program that asks for the run."""

import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.publishing import store_lock
from tests.engine.test_store_runs import RUN, assert_same_run
from tests.support.apart_workers import ApartWorkers, apart_workers
from tests.support.bucket import Bucket, point_to
from tests.support.damped import DAMPED
from tests.support.loopback import serving
from tests.support.material import ROOT
from tests.support.small_catalog import LARGER, small_items, small_query, written

KILLED_WORKERS, KILLED_CLIENTS = 20, 5
BETWEEN_KILLS = 1.5
OUTPUTS = {"files": se.Output(), "virtual": se.Output(days="virtual")}
CLIENT = """
import json, sys
import spaceeye_stac as se
from spaceeye_stac.publishing import store_lock
from tests.support.damped import DAMPED
store_lock.BEAT_SECONDS, store_lock.DEAD_SECONDS = 0.2, 2
asked = json.loads(sys.argv[1])
query = se.Query(**asked["query"])
se.run(query, DAMPED, out=asked["out"], resources=se.Resources(scheduler=asked["scheduler"]))
"""
