"Beside a current fastai and its fastcore 2 our tests pass, and our network trains in a `Learner`."
import os, subprocess, sys, sysconfig, venv
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from pathlib import Path
import pytest

pytestmark = pytest.mark.slow
LEARNER = '''
import torch
from fastai.vision.all import (Adam, ImageDataLoaders, Learner, Path, Resize, accuracy,
    get_image_files, set_seed, vision_learner)
from resnet_pets import Classifier, draw_pets, grad_cam, resnet18

def is_cat(name): return name[0].isupper()
photos = get_image_files(draw_pets('pets', n=96, size=64)/'images')
set_seed(0)
dls = ImageDataLoaders.from_name_func('.', photos, is_cat, valid_pct=0.25, seed=0, bs=16,
    num_workers=0, item_tfms=Resize(64), device=torch.device('cpu'))
learn = Learner(dls, resnet18(num_classes=2), opt_func=Adam, metrics=accuracy)
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(8, 1e-3)
losses = torch.stack(learn.recorder.losses)     # a running average, one for each step
assert len(losses) == 8*4 and losses[-1] < 0.75*losses[0], losses

x = dls.valid.one_batch()[0]                    # a subclass of torch's tensor
plain = x.as_subclass(torch.Tensor)
assert grad_cam(learn.model, x, 'layer4')['layer4'].eq(grad_cam(learn.model, plain, 'layer4')['layer4']).all()
classifier = Classifier(learn.model, size=64, classes=['dog', 'cat'], species=[1, 0])
table = classifier.predict(photos[:4])
assert all(0 <= row['p_dog'] <= 1 and not row['error'] for row in table), table

learn = vision_learner(dls, lambda pretrained: resnet18(), pretrained=False)    # fastai's own head
with learn.no_bar(), learn.no_logging(): learn.fit(1)
assert learn.recorder.losses[-1].isfinite()
'''

def output(python, *words, cwd, path='')->str:
    "What a command of Python prints; `path`: where modules are looked for first."
    settings = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(path))
    done = subprocess.run([python, *map(str, words)], cwd=cwd, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout+done.stderr
    return done.stdout

def install(python, *words): # from the network, or wherever pip is told to look
    done = subprocess.run([python, '-m', 'pip', 'install', *words], capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith('ERROR')]
    if done.returncode: pytest.skip(f"pip could not install {words[-1]} ({'; '.join(errors)})")

@pytest.fixture(scope='module')
def python(copy, tmp_path_factory):
    "The interpreter of an environment with our wheel, fastai and fastcore 2."
    folder = tmp_path_factory.mktemp('fastai')
    output(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, '.', cwd=copy)
    venv.create(folder/'env', with_pip=True)
    python = folder/'env'/('Scripts' if sys.platform == 'win32' else 'bin')/'python'
    output(python, '-m', 'pip', 'install', '--no-deps', '--no-index', *folder.glob('*.whl'), cwd=folder)
    # Torch and whatever else our tests need are lent by the environment of this test, as in test_wheel.py. What pip adds
    # stands before it on the path, and pip removes nothing outside its own environment.
    site = output(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=folder).strip()
    (Path(site)/'lent.pth').write_text('\n'.join({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}))
    install(python, 'fastcore>=2', 'fastai>=2.8')
    return python

def test_is_the_wheel_beside_fastcore_2(python, tmp_path):
    found = output(python, '-c', 'import fastcore, resnet_pets; print(fastcore.__version__, resnet_pets.__file__)', cwd=tmp_path)
    version,file = found.split(maxsplit=1)
    assert int(version.split('.')[0]) >= 2 and Path(file.strip()).is_relative_to(python.parents[1])

def test_requirements_are_met(python):
    done = subprocess.run([python, '-m', 'pip', 'check'], capture_output=True, text=True)
    assert not [line for line in done.stdout.splitlines() if line.startswith(('resnet_pets', 'resnet-pets', 'fastai'))]

def run_tests(python, copy, *words, path=''): # in their own folder, where the package of the copy is not found
    output(python, '-m', 'pytest', '-q', *words, cwd=copy/'tests', path=path)

def test_quick_tests(python, copy):
    files = [f'test_{name}.py' for name in ('bad_inputs', 'classifier', 'gradcam', 'odd_networks')]
    fast = ['-k', 'not resnet101 and not odd_names']    # what these add takes a minute and has nothing to do with fastcore
    with ThreadPoolExecutor(2) as pool: [*pool.map(lambda file: run_tests(python, copy, file, *fast), files)]

def test_lowest_fastcore(python, copy, tmp_path):
    "That our requirements allow."
    settings = ConfigParser(delimiters=['='])
    settings.read(copy/'settings.ini', encoding='utf-8')
    lowest, = [r for r in settings['DEFAULT']['requirements'].split() if r.startswith('fastcore>=')]
    install(python, '--no-deps', '--target', tmp_path, lowest.replace('>=', '=='))
    run_tests(python, copy, 'test_classifier.py', '-k', 'networks_of_others', path=tmp_path)

def test_trains_in_a_learner(python, tmp_path): output(python, '-c', LEARNER, cwd=tmp_path)
