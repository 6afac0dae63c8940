"""A demo that is asked to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = """
import sys
from pathlib import Path
from nnunet_ext import demo
from nnunet_ext.demo import commands, main

child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
main.main = lambda *_: commands.run(["python", "-c", child], {}, Path("log"), lambda line: print(line, flush=True))
sys.exit(demo.run("mni152", "nnUNetTrainer", None, Path("out"), "cpu"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_that_runs_ends_too(how: signal.Signals, tmp_path: Path) -> None:
    demo = subprocess.Popen([sys.executable, "-c", DEMO], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    child = int(demo.stdout.readline())
    demo.send_signal(how)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "the same command goes on" in " ".join(output.split())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
