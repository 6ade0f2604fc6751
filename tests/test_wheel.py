"The wheel, installed into an empty environment, has working commands, recipes and networks."
import subprocess, sys, sysconfig, venv
from pathlib import Path
import pytest

pytestmark = pytest.mark.slow
COMMANDS = [f'pets_{name}' for name in ('check', 'stats', 'train', 'evaluate', 'compare', 'predict',
    'explain', 'export')]
TINY = ['data.drawn=80', 'model.layers=[1,1,1,1]', 'training.epochs=1', 'training.precision=fp32']

@pytest.fixture(scope='module')
def fresh(copy, tmp_path_factory):
    "An environment with nothing but our wheel in it; its `bin` folder."
    folder = tmp_path_factory.mktemp('fresh')
    how = ['--no-deps', '--no-build-isolation', '-w', folder]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *how, '.'], cwd=copy, check=True)
    venv.create(folder/'env', with_pip=True)
    scripts = folder/'env'/('Scripts' if sys.platform == 'win32' else 'bin')
    install = [scripts/'python', '-m', 'pip', 'install', '--no-deps', '--no-index']
    subprocess.run([*install, *folder.glob('*.whl')], check=True)
    # The dependencies are gigabytes and there may be no network, so they are lent by the
    # environment of this test: a .pth file puts its site-packages behind the new ones. That does
    # not lend our own package, which stands there as an editable install, a .pth file itself; those
    # are read only in real site folders. `test_is_the_wheel` makes sure.
    where = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    site = output(scripts/'python', '-c', where, cwd=folder).strip()
    lent = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
    (Path(site)/'lent.pth').write_text('\n'.join(lent))
    return scripts

def output(*command, cwd)->str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr
    return done.stdout

def test_is_the_wheel(fresh, tmp_path):
    code = 'import resnet_pets; print(resnet_pets.__file__)'
    file = output(fresh/'python', '-c', code, cwd=tmp_path)
    assert Path(file.strip()).is_relative_to(fresh.parent)

def test_has_its_recipes(fresh, tmp_path):
    code = 'from resnet_pets.config import recipes; print(*recipes())'
    recipes = output(fresh/'python', '-c', code, cwd=tmp_path)
    assert {'demo', 'fast', 'oxford_pets_binary_resnet101'} <= set(recipes.split())

@pytest.mark.parametrize('command', COMMANDS)
def test_commands_explain_themselves(fresh, tmp_path, command):
    assert command in output(fresh/command, '--help', cwd=tmp_path)

def test_answers_with_its_network(fresh, tmp_path):
    code = 'from resnet_pets.draw import draw_pets; draw_pets("pets", n=20, size=64)'
    output(fresh/'python', '-c', code, cwd=tmp_path)
    said = output(fresh/'pets_predict', 'pets/images', cwd=tmp_path).splitlines()
    assert len(said) == 1+20 and 'p_dog' in said[0]

def test_trains_in_an_empty_folder(fresh, tmp_path):
    output(fresh/'pets_train', 'demo', *TINY, '--run', 't', cwd=tmp_path)
    made = {p.name for p in (tmp_path/'runs/t').iterdir()}
    assert {'config.yaml', 'train.log', 'history.csv', 'last.ckpt', 'best.safetensors', 'report.md',
        'report.json', 'figures'} <= made
    output(fresh/'pets_evaluate', 'runs/t', cwd=tmp_path)
