#!/bin/sh
# Makes an environment with LeRobot, in which tests read and write data sets by its own code. usage: setup_lerobot.sh VENV
# LeRobot wants an older torch than lotj and a torchvision to go with it; of these its data sets need two transforms,
# for which a stub stands in. About 1.5 GB. Then: LOTJ_LEROBOT=VENV/bin/python pytest tests/test_interop_peers.py
# tests/test_lerobot_plugin.py runs in an environment that has both: VENV/bin/pip install -e '.[dev]', then VENV/bin/pytest.
# Known to work with LeRobot 0.4.4 on Python 3.11. Pictures are read; video is not, which needs torchcodec and FFmpeg.
set -eu
venv=$1
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "torch>=2.2" "datasets>=4,<5" "huggingface-hub>=0.34.2,<0.36" "av>=15,<16" \
    "jsonlines>=4" "packaging>=24.2,<26" einops accelerate pillow \
    "draccus==0.10.0" "pyserial>=3.5,<4" "deepdiff>=7.0.1,<9" "diffusers>=0.27.2,<0.36" "opencv-python-headless<4.13"
"$venv/bin/pip" install --quiet --no-deps "lerobot==0.4.4"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision
mkdir -p "$site"
cat >"$site/__init__.py" <<'STUB'
"""Just enough of torchvision for LeRobot: whatever is asked for is there, and only ToTensor does anything."""
import importlib.abc, importlib.machinery, sys
__version__ = "0.0"
class ToTensor:
    def __call__(self, picture):
        import numpy, torch
        return torch.from_numpy(numpy.asarray(picture).transpose(2, 0, 1).copy()).float() / 255
class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("torchvision.") else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        def given(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return ToTensor if name == "ToTensor" else type(name, (), {"__init__": lambda self, *a, **k: None})
        module.__path__, module.__getattr__ = [], given
sys.meta_path.append(Stub())
from . import io, models, transforms
STUB
HF_HUB_OFFLINE=1 "$venv/bin/python" -c 'import lerobot.datasets.lerobot_dataset as d; print("LeRobot reads", d.CODEBASE_VERSION)'
