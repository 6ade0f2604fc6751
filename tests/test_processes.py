"Two processes train together over gloo on the CPU: the result of one; one writes; one is killed."
import os, re, signal, subprocess, sys
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from resnet_pets.checkpoints import load_state
from resnet_pets.cli import pets_train
from resnet_pets import processes
from resnet_pets.runs import Run
from resnet_pets.training import Trainer

pytestmark = pytest.mark.slow
EPOCHS,STEPS = 3,5
# SGD: AdamW divides the smallest gradients by themselves, and what is left is rounding
WORDS = ['demo', 'data.drawn=71', 'data.image_size=32', 'model.block=basic', 'model.layers=[1,1,1,1]',
    'model.width=8', 'optimizer.name=sgd', 'optimizer.lr=0.02', 'training.batch_size=8',
    f'training.epochs={EPOCHS}', 'training.precision=fp32', 'training.device=cpu',
    'training.progressive_size=null', 'training.sync_batch_norm=true', 'results.splits=[val,test]']

@pytest.fixture(scope='module')
def home(tmp_path_factory): return tmp_path_factory.mktemp('home')

def start(home, count:int, *words)->subprocess.Popen: # a command, in so many processes
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone',
        f'--nproc-per-node={count}', '--no-python', '--']
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    env = os.environ | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1', PATH=path,
        RESNET_PETS_CACHE=str(home/'cache'))
    command = [*(torchrun if count > 1 else []), *map(str, words)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(command, env=env, **pipes)

def output(started)->str: # of a command that succeeds
    said,_ = started.communicate(timeout=300)
    assert started.returncode == 0, said[-3000:]
    return said

def train(home, count, name, *more):
    results = f'results.folder={home/"runs"}'
    return output(start(home, count, 'pets_train', *WORDS, results, '--run', name, *more))

@pytest.fixture(scope='module')
def one(home): # a run of one process
    train(home, 1, 'one')
    return Run(home/'runs/one')

@pytest.fixture(scope='module')
def two(home, one): # the same by two, and what was printed
    said = train(home, 2, 'two')
    return Run(home/'runs/two'), said

def assert_same(a:Run, b:Run, within=1e-4): # relative to the largest weight of each tensor
    x,y = (load_file(run.file('best.safetensors')) for run in (a, b))
    assert x.keys() == y.keys()
    for k in x:
        largest = max(1e-3, x[k].abs().max().item())
        torch.testing.assert_close(x[k].float(), y[k].float(), rtol=0, atol=within*largest, msg=k)
    for old,new in zip(a.history, b.history, strict=True):
        for k in ('train_loss', 'val_loss'): assert new[k] == pytest.approx(old[k], rel=within)

def test_training_is_that_of_one(one, two):
    assert_same(one, two[0])
    assert [run.report['evidence']['processes'] for run in (one, two[0])] == [1, 2]

def test_main_process_writes_and_prints(two):
    run,said = two
    for text in (said, run.file('train.log').read_text()):
        for e in range(1, EPOCHS+1): assert len(re.findall(rf'epoch +{e} ', text)) == 1
    assert not list(run.folder.parent.glob('.two*'))

def test_every_photo_is_predicted_once(one, two):
    for run in (one, two[0]):
        evaluated = sorted(name for name,split in run.photos.items() if split in ('val', 'test'))
        assert sorted(run.predictions.name) == evaluated
        # an odd number cannot be halved
        assert any(run.predictions.split.count(split) % 2 for split in ('val', 'test'))

def test_evaluation_is_identical(home, one):
    before,scores = one.predictions, one.report['splits']['test']
    output(start(home, 2, 'pets_evaluate', one.folder, '--split', 'test'))
    after,again = one.predictions, one.report['splits']['test']
    assert (after.name, after.split) == (before.name, before.split)
    torch.testing.assert_close(after.logits, before.logits, rtol=0, atol=1e-5)
    for k in ('loss', 'roc_auc', 'accuracy'): assert again[k] == pytest.approx(scores[k], rel=1e-4)

def test_last_batch_of_one(home): # of 33 test photos, 32 a batch
    train(home, 2, 'last', 'data.drawn=137', 'training.epochs=1')
    assert Run(home/'runs/last').predictions.split.count('test') == 33

def dies(rank, *words): # a training whose process of this rank is killed in the second epoch
    def backward(self, *args, before=Trainer.backward):
        if (processes.rank(), self.step) == (int(rank), STEPS+2): os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *args)
    Trainer.backward = backward
    return pets_train(list(words))

@pytest.mark.parametrize('rank,first,then', [(0, 2, 2), (1, 2, 1), (0, 1, 2)])
def test_killed_and_resumed_by_another_number(home, one, rank, first, then):
    here = str(Path(__file__).parent)
    script = f'import sys; sys.path.insert(0, {here!r}); import test_processes\n' \
        'sys.exit(test_processes.dies(*sys.argv[1:]))'
    run = Run(home/f'runs/killed_{rank}_{first}_{then}')
    words = [*WORDS, f'results.folder={home/"runs"}', '--run', run.folder.name]
    started = start(home, first, sys.executable, '-c', script, rank, *words)
    said,_ = started.communicate(timeout=300)
    assert started.returncode != 0 and (first == 1 or 'SIGKILL' in said)
    assert load_state(run.file('last.ckpt'))['step'] == STEPS and not run.finished
    train(home, then, run.folder.name, '--resume')
    assert_same(one, Run(run.folder))
