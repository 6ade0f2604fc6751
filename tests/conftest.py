"Shared by the tests: a copy of the project that they may change."
import subprocess
from pathlib import Path
import pytest

@pytest.fixture(scope='session')
def copy(tmp_path_factory)->Path:
    "A git repository whose only commit holds every file of the project that git does not ignore."
    root,folder = Path(__file__).parents[1],tmp_path_factory.mktemp('project')
    git = ['git', '-c', 'user.name=test', '-c', 'user.email=test@localhost', '-c', 'core.autocrlf=false']
    names = subprocess.check_output(['git', 'ls-files', '-zco', '--exclude-standard'], cwd=root, text=True).split('\0')
    for name in filter(None, names):
        if not (root/name).is_file(): continue
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes((root/name).read_bytes())
    for command in ['init', '-q'], ['add', '-A'], ['commit', '-qm', 'copy']: subprocess.run([*git, *command], cwd=folder, check=True)
    return folder
