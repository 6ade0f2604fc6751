"Every benchmark runs from start to end and writes sensible results. How fast things are is not tested here."
import json, math, subprocess, sys
from pathlib import Path
import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[1]/'benchmarks'

@pytest.mark.parametrize('name', ['training_step', 'input', 'prediction', 'growth', 'gradcam', 'explorers', 'explorers_browser', 'export', 'networks'])
def test_benchmark(name, tmp_path):
    done = subprocess.run([sys.executable, FOLDER/f'{name}.py', '--quick', '--device', 'cpu', '--out', tmp_path], capture_output=True, text=True)
    if 'there is no Chromium' in done.stderr: pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout+done.stderr
    assert (tmp_path/f'{name}.md').read_text(encoding='utf-8') in done.stdout
    results = json.loads((tmp_path/f'{name}.json').read_text(encoding='utf-8'))
    assert {'cpu', 'threads', 'torch', 'date', 'command'} <= set(results['evidence'])
    for row in results['rows']: assert all(0 < v < math.inf for v in (*row['rounds'], *row['ratio'].values()))
    assert (tmp_path/f'{name}.png').stat().st_size > 10_000
