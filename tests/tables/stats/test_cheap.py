import subprocess
import sys
from pathlib import Path

import bench.tables.stats


def test_import_is_cheap() -> None:
    names = [path.stem for path in Path(bench.tables.stats.__file__).parent.glob("[a-z]*.py")]
    code = f"import sys; from bench.tables.stats import {', '.join(names)}; "
    code += "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
