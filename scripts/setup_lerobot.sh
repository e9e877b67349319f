#!/bin/sh
# Makes an environment with LeRobot, in which tests read and write data sets by its own code. usage: setup_lerobot.sh VENV
# LeRobot wants an older torch than lotj and a torchvision to go with it; of these its data sets need two transforms,
# for which a stub stands in. About 1.5 GB. Then: LOTJ_LEROBOT=VENV/bin/python pytest tests/test_interop_peers.py
# Known to work with LeRobot 0.4.4 on Python 3.11. Pictures are read; video is not, which needs torchcodec and FFmpeg.
set -eu
venv=$1
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "torch>=2.2" "datasets>=4,<5" "huggingface-hub>=0.34.2,<0.36" "av>=15,<16" \
    "jsonlines>=4" "packaging>=24.2,<26" einops accelerate pillow
"$venv/bin/pip" install --quiet --no-deps "lerobot==0.4.4"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchvision
mkdir -p "$site/transforms/v2" "$site/io"
cat >"$site/__init__.py" <<'STUB'
"""Just enough of torchvision for LeRobot's data sets."""
__version__ = "0.0"
from . import io, transforms
STUB
: >"$site/io/__init__.py"
cat >"$site/transforms/__init__.py" <<'STUB'
import numpy, torch
from . import v2
class ToTensor:
    def __call__(self, picture):
        return torch.from_numpy(numpy.asarray(picture).transpose(2, 0, 1).copy()).float() / 255
STUB
cat >"$site/transforms/v2/__init__.py" <<'STUB'
class Transform: pass
def __getattr__(name): return type(name, (Transform,), {})
STUB
HF_HUB_OFFLINE=1 "$venv/bin/python" -c 'import lerobot.datasets.lerobot_dataset as d; print("LeRobot reads", d.CODEBASE_VERSION)'
