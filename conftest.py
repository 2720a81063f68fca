"""Pins the device of each worker before torch is imported, and loads the plugins."""

import os

worker = os.environ.get("PYTEST_XDIST_WORKER", "")
visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
if worker and visible:
    # The caller's list is what there is to share out: "2,3" gives gw1 device 3.
    devices = visible.split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(worker[2:]) % len(devices)]

pytest_plugins = ["reports.plugin", "claims.plugin"]
