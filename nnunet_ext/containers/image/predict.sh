#!/bin/sh
exec /opt/nnunet-ext/venv/bin/python -m nnunet_ext.containers.flare
