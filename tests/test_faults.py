"A training survives kills, a full disk, a deleted folder and a second training in the same folder; and it does not leak."
import json, os, random, shutil, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from resnet_pets import batches, checkpoints, experiments, runs, stats
from resnet_pets.checkpoints import load_state, lock_folder
from resnet_pets.cli import pets_predict, pets_train
from resnet_pets.datamodule import prepare
from resnet_pets.draw import draw_pets
from resnet_pets.runs import Run, load_run

pytestmark = pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='needs the signals of Unix')
WORDS = ['demo', 'data.drawn=60', 'data.image_size=32', 'model.block=basic', 'model.layers=[1,1,1,1]', 'model.width=8', 'optimizer.lr=3e-3',
    'training.batch_size=8', 'training.precision=fp32', 'training.device=cpu', 'training.progressive_size=null', 'training.ema_decay=0.9', 'results.splits=[val]']

@pytest.fixture(autouse=True)
def one_thread(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('TQDM_DISABLE', '1')
    monkeypatch.setenv('RESNET_PETS_CACHE', str(tmp_path_factory.getbasetemp()/'cache'))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

EPOCH,LONG = 4,80    # steps; epochs

def words(folder, epochs=4, *more): return [*WORDS, f'results.folder={folder}', f'training.epochs={epochs}', *more]
def train(folder, *more, name='it', epochs=4): return pets_train([*words(folder, epochs), '--run', name, *more])
def same_end(a:Path, b:Path): # are the weights of two runs equal to the bit, and the histories, except for times?
    def numbers(run): return [{k: v for k,v in r.items() if 'seconds' not in k} for r in Run(run).history]
    x,y = (load_file(run/'best.safetensors') for run in (a, b))
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) and str(numbers(a)) == str(numbers(b))

def in_child(call:str, *words)->subprocess.Popen: # call a function of this module in a process of its own
    script = f'import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_faults; sys.exit(test_faults.{call}(*sys.argv[1:]))'
    return subprocess.Popen([sys.executable, '-c', script, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1'))

def dies_training(folder, seed): # killed by a timer of CPU time, so that a busy machine makes no difference
    def timed(*args, train=experiments.train):
        signal.setitimer(signal.ITIMER_PROF, random.Random(int(seed)).uniform(.2, 1.8))    # the first epoch ends after 1 second, the others take a twentieth
        return train(*args)
    experiments.train = timed
    return train(folder, '--resume', epochs=LONG)

def dies_saving(folder, seed): # killed when a part of the next checkpoint is written
    def save(state, path, whole=torch.save):
        whole(state, path)
        os.truncate(path, int(os.path.getsize(path)*random.Random(int(seed)).random()))
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.torch.save = save
    return train(folder, '--resume', epochs=LONG)

def dies_early(folder, seed): # killed before the training begins
    signal.setitimer(signal.ITIMER_PROF, random.Random(int(seed)).uniform(.001, .3))
    return train(folder, '--resume', epochs=LONG)

def at_epoch(n, do, monkeypatch): # call `do` with the run's folder before the files of that epoch are written
    def save_epoch(self, trainer, *args, save=Run.save_epoch):
        if len(trainer.history) == n: do(self.folder)
        return save(self, trainer, *args)
    monkeypatch.setattr(Run, 'save_epoch', save_epoch)

@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path):
    assert train(tmp_path, name='straight', epochs=LONG) == 0
    assert load_state(tmp_path/'straight/last.ckpt')['step'] == LONG*EPOCH
    reached = 0
    for i,how in enumerate(5*['dies_training', 'dies_saving', 'dies_training', 'dies_early']):
        child = in_child(how, tmp_path, i)
        _,said = child.communicate(timeout=120)
        assert child.returncode < 0, f'process {i} was not ended by a signal: {said[-500:]}'
        if (ckpt := tmp_path/'it/last.ckpt').exists():
            step = load_state(ckpt)['step']    # it can be read, and no progress is lost
            assert step >= reached and step % EPOCH == 0
            reached = step
    assert 0 < reached < LONG*EPOCH
    assert train(tmp_path, '--resume', epochs=LONG) == 0
    assert same_end(tmp_path/'it', tmp_path/'straight')
    assert not list((tmp_path/'it').rglob('.*.tmp'))

@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path/'disk'
    folder.mkdir()
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', str(folder)], capture_output=True).returncode:
        pytest.skip('only root may mount a small disk')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)

def one_line(capsys, *parts):
    said = capsys.readouterr().err
    error = [line for line in said.splitlines() if line.startswith('pets_') or 'Error' in line or 'Traceback' in line]    # without the progress bars
    assert len(error) == 1 and error[0].startswith('pets_train: ') and all(p in error[0] for p in parts), said

def fill(folder:Path, leave:int=0): # bytes
    with open(folder/'filler', 'wb', buffering=0) as f:
        try:
            while True: f.write(bytes(2**16))
        except OSError: pass
        f.truncate(max(0, f.tell()-leave))

@pytest.mark.parametrize('leave', [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (20_000, 600_000))], ids=['nothing fits', 'texts fit', 'weights fit'])
def test_full_disk(small_disk, tmp_path, monkeypatch, capsys, leave):
    assert train(tmp_path, name='straight') == 0
    with monkeypatch.context() as m:
        at_epoch(2, lambda folder: fill(small_disk, leave), m)
        capsys.readouterr()
        assert train(small_disk) == 2
    one_line(capsys)
    assert load_state(small_disk/'it/last.ckpt')['step'] == EPOCH
    assert not list((small_disk/'it').rglob('.*.tmp'))
    (small_disk/'filler').unlink()
    assert train(small_disk, '--resume') == 0
    assert same_end(small_disk/'it', tmp_path/'straight')

def test_read_only_disk(small_disk, capsys):
    subprocess.run(['mount', '-o', 'remount,ro', str(small_disk)], check=True)
    assert train(small_disk/'runs') == 2
    one_line(capsys, str(small_disk/'runs'), 'Read-only')

def test_folder_deleted_under_the_run(tmp_path, monkeypatch, capsys):
    at_epoch(2, shutil.rmtree, monkeypatch)
    assert train(tmp_path) == 2
    one_line(capsys, str(tmp_path/'it'), 'No such file')
    assert not (tmp_path/'it').exists()

def busy(folder):
    with lock_folder(folder): time.sleep(60)

def test_second_training_is_refused(tmp_path, capsys):
    child = in_child('busy', tmp_path/'it')
    try:
        while not (tmp_path/'.it.lock.txt').exists(): time.sleep(.01)
        for more in ([], ['--resume'], ['--overwrite']):
            assert train(tmp_path, *more) == 2
            one_line(capsys, str(tmp_path/'it'), f'in use by process {child.pid} on ')
        assert not (tmp_path/'it').exists()
    finally: child.kill(); child.communicate()
    assert train(tmp_path) == 0

@pytest.mark.slow
def test_no_leaks(tmp_path, monkeypatch):
    def now(): # memory in MB, open files, threads
        pages = int(Path('/proc/self/statm').read_text().split()[1])
        return pages*os.sysconf('SC_PAGE_SIZE')/1e6, len(os.listdir('/proc/self/fd')), threading.active_count()
    if not Path('/proc/self/statm').exists(): pytest.skip('reads /proc')
    seen = []
    monkeypatch.setattr(experiments, 'is_best', lambda history, best=experiments.is_best: seen.append(now()) or best(history))
    assert train(tmp_path, epochs=13) == 0
    run = load_run(tmp_path/'it')
    paths = [p.path for p in prepare(run.config.data).pets]
    run.classifier.predict((paths*9)[:500])    # the first call fills torch's caches
    before = now()
    for _ in range(10): run.classifier.predict(paths[:50])
    for (first,files,threads),(last,files_then,threads_then) in ((seen[2], seen[12]), (before, now())):
        assert last-first < 8 and files_then <= files and threads_then <= threads

def test_tensorboard_has_each_epoch_once(tmp_path, monkeypatch):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    with monkeypatch.context() as m:
        at_epoch(2, lambda folder: os.kill(os.getpid(), signal.SIGINT), m)
        train(tmp_path, 'results.tensorboard=true')
    assert not Run(tmp_path/'it').finished
    assert train(tmp_path, 'results.tensorboard=true', '--resume') == 0
    found = accumulator.EventAccumulator(str(tmp_path/'it/tensorboard')).Reload()
    assert set(found.Tags()['scalars']) == set(Run(tmp_path/'it').history[0])-{'epoch'}
    assert [(e.step, pytest.approx(e.value)) for e in found.Scalars('val_loss')] == [(r['epoch'], r['val_loss']) for r in Run(tmp_path/'it').history]

def test_missing_tensorboard_is_reported_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, 'find_spec', lambda name: None)
    assert train(tmp_path, 'results.tensorboard=true') == 2
    one_line(capsys, 'results.tensorboard', 'pip install tensorboard')
    assert not (tmp_path/'it').exists()

def test_same_seed_same_run(tmp_path, monkeypatch):
    "Whatever the number of threads that decode the photos."
    for name,workers in (('first', 1), ('again', 1), ('many', 7)):
        with monkeypatch.context() as m:
            m.setenv('RESNET_PETS_CACHE', str(tmp_path/f'cache of {name}'))
            for module in (batches, stats): m.setattr(module, 'ThreadPoolExecutor', lambda _, workers=workers: ThreadPoolExecutor(workers))
            assert train(tmp_path, name=name) == 0
    assert same_end(tmp_path/'first', tmp_path/'again') and same_end(tmp_path/'first', tmp_path/'many')
    assert train(tmp_path, 'training.seed=1', name='other') == 0
    assert not same_end(tmp_path/'first', tmp_path/'other')

@pytest.mark.slow
def test_a_bad_photo_among_a_thousand(tmp_path, capsys):
    assert train(tmp_path, epochs=1) == 0
    photos = draw_pets(tmp_path/'pets', n=1000, size=24)/'images'
    def predicted():
        capsys.readouterr()
        code = pets_predict([str(photos), '--run', str(tmp_path/'it'), '--format', 'json'])
        said = capsys.readouterr()
        return code, {r['file']: r for r in json.loads(said.out)}, said.err
    code,before,_ = predicted()
    assert code == 0 and len(before) == 1000
    victim = sorted(before)[500]
    Path(victim).write_bytes(b'no photo')
    code,after,err = predicted()
    assert code == 1 and '1 of 1000 files could not be read' in err
    assert after.pop(victim)['error'] and before.pop(victim) and after == before
