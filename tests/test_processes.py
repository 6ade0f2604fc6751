"Two processes on one training, over gloo on the CPU: the same result as one, one of them writes, and what happens when one is killed."
import csv, os, re, signal, subprocess, sys
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from resnet_pets.checkpoints import load_state
from resnet_pets.cli import pets_train
from resnet_pets import processes
from resnet_pets.runs import Run
from resnet_pets.training import Trainer

pytestmark = pytest.mark.slow
EPOCHS,STEPS = 3,5    # with SGD below: AdamW divides the smallest gradients by themselves, and what is left is rounding
WORDS = ['demo', 'data.drawn=71', 'data.image_size=32', 'model.block=basic', 'model.layers=[1,1,1,1]', 'model.width=8', 'optimizer.name=sgd', 'optimizer.lr=0.02', 'training.batch_size=8',
    f'training.epochs={EPOCHS}', 'training.precision=fp32', 'training.device=cpu', 'training.progressive_size=null', 'training.sync_batch_norm=true', 'results.splits=[val,test]']

@pytest.fixture(scope='module')
def home(tmp_path_factory): return tmp_path_factory.mktemp('home')

def start(home, processes:int, *words)->subprocess.Popen: # a command, in so many processes, in a group of its own
    launcher = [] if processes == 1 else [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}', '--no-python', '--']
    env = os.environ | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1', RESNET_PETS_CACHE=str(home/'cache'), PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    return subprocess.Popen([*launcher, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

def ends(job)->str: # well; what it said
    said,_ = job.communicate(timeout=300)
    assert job.returncode == 0, said[-3000:]
    return said

def train(home, processes, name, *more): return ends(start(home, processes, 'pets_train', *WORDS, f'results.folder={home/"runs"}', '--run', name, *more))

@pytest.fixture(scope='module')
def one(home): # a run of one process
    train(home, 1, 'one')
    return Run(home/'runs/one')

@pytest.fixture(scope='module')
def two(home, one): # the same by two, and what was printed
    said = train(home, 2, 'two')
    return Run(home/'runs/two'), said

def same(a:Run, b:Run, within=1e-4): # in weights and history, relative to the largest weight of each tensor
    x,y = (load_file(run.file('best.safetensors')) for run in (a, b))
    assert x.keys() == y.keys()
    for k in x: torch.testing.assert_close(x[k].float(), y[k].float(), rtol=0, atol=within*max(1e-3, x[k].abs().max().item()), msg=k)
    for old,new in zip(a.history, b.history, strict=True):
        for k in ('train_loss', 'val_loss'): assert new[k] == pytest.approx(old[k], rel=within)

def test_training_is_that_of_one(one, two):
    same(one, two[0])
    assert [run.report['evidence']['processes'] for run in (one, two[0])] == [1, 2]

def test_one_process_writes_and_speaks(two):
    run,said = two
    for e in range(1, EPOCHS+1): assert len(re.findall(rf'epoch +{e} ', said)) == len(re.findall(rf'epoch +{e} ', run.file('train.log').read_text())) == 1
    assert not list(run.folder.parent.glob('.two*'))

def test_every_photo_is_judged_once(one, two):
    for run in (one, two[0]):
        with open(run.file('photos.csv'), newline='', encoding='utf-8') as f: judged = sorted(r['name'] for r in csv.DictReader(f) if r['split'] in ('val', 'test'))
        assert sorted(run.predictions.name) == judged and any(run.predictions.split.count(part) % 2 for part in ('val', 'test'))    # an odd number cannot be halved

def test_evaluation_is_identical(home, one):
    before,scores = one.predictions, one.report['splits']['test']
    ends(start(home, 2, 'pets_evaluate', one.folder, '--split', 'test'))
    after = one.predictions
    assert (after.name, after.split) == (before.name, before.split)
    torch.testing.assert_close(after.logits, before.logits, rtol=0, atol=1e-5)
    assert all(one.report['splits']['test'][k] == pytest.approx(scores[k], rel=1e-4) for k in ('loss', 'roc_auc', 'accuracy'))

def test_last_batch_of_one(home): # of 33 test photos, 32 a batch
    train(home, 2, 'last', 'data.drawn=137', 'training.epochs=1')
    assert Run(home/'runs/last').predictions.split.count('test') == 33

def dies(rank, *words): # in the second epoch
    def backward(self, *args, before=Trainer.backward):
        if (processes.rank(), self.step) == (int(rank), STEPS+2): os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *args)
    Trainer.backward = backward
    return pets_train(list(words))

@pytest.mark.parametrize('rank,first,then', [(0, 2, 2), (1, 2, 1), (0, 1, 2)])
def test_killed_and_resumed_by_another_number(home, one, rank, first, then):
    script = f'import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_processes; sys.exit(test_processes.dies(*sys.argv[1:]))'
    run = Run(home/f'runs/killed_{rank}_{first}_{then}')
    job = start(home, first, sys.executable, '-c', script, rank, *WORDS, f'results.folder={home/"runs"}', '--run', run.folder.name)
    said,_ = job.communicate(timeout=300)
    assert job.returncode != 0 and (first == 1 or 'SIGKILL' in said)
    assert load_state(run.file('last.ckpt'))['step'] == STEPS and not run.finished
    train(home, then, run.folder.name, '--resume')
    same(one, Run(run.folder))
